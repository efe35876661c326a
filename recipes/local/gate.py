"""Runs in the container between this machine and the network of `release up`.

gate.py forward PORT HOST PORT     hands every connection to PORT on to HOST
gate.py ask URL                    prints one answer as JSON: {"status", "version"}; status 0 when nobody answers
"""

import asyncio
import json
import signal
import sys
import urllib.error
import urllib.request

LARGEST = 1 << 20


async def pump(source, drain):
    try:
        while data := await source.read(1 << 16):
            drain.write(data)
            await drain.drain()
        drain.write_eof()
    except OSError:
        drain.close()


async def forward(port, host, its):
    async def serve(reader, writer):
        try:
            there, out = await asyncio.open_connection(host, its)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, out), pump(there, writer))
        writer.close()
        out.close()

    server = await asyncio.start_server(serve, "0.0.0.0", port)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)  # process 1 has no default for it
    await ended.wait()
    server.close()


def version(body):
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("version", "")) if isinstance(found, dict) else ""


def ask(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        try:
            answer = opener.open(url, timeout=5)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            said = answer.headers.get("X-Release", "") or version(answer.read(LARGEST))
            return {"status": answer.status, "version": said}
    except (OSError, ValueError) as error:
        return {"status": 0, "version": "", "why": str(getattr(error, "reason", error))}


if __name__ == "__main__":
    if sys.argv[1] == "forward":
        asyncio.run(forward(int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
    else:
        print(json.dumps(ask(sys.argv[2])))
