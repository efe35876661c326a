"""The released artifact on the machine of who develops it: started with what it needs, and removed again."""
