"""Publishes into a bucket of Amazon S3, or of any server that speaks its protocol: MinIO, Ceph and others."""

from buildonce.publishers.s3.publisher import S3Publisher

__all__ = ["S3Publisher"]
