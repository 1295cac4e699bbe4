"""`make run`: from a fresh clone to a running panel in one process tree.

- `bootstrap`: makes the environment; runs on any Python 3.11+ before anything is installed, so it imports nothing but the standard library.
- `launch`: checks, lock, port, Redis; writes supervisor's configuration and becomes supervisord.
- `prepare`: under supervisord; migrates, seeds, starts the programs, waits for them, deploys hello, prints the banner.
- `web`, `worker`: the two panel programs. `engine`: what has to be asked of Docker. `doctor`: what is wrong here and how to mend it.
"""
