# The panel's image (and, with another command, the agent's). Three stages: packages, console assets, and what runs.
# check=error=true
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/panel.lock /build/panel.lock
RUN python -m venv /opt/lormas \
    && /opt/lormas/bin/pip install -q --no-compile --require-hashes --no-deps -r /build/panel.lock \
    && /opt/lormas/bin/python -m compileall -q -j 0 /opt/lormas/lib

FROM packages AS built
WORKDIR /build/src
COPY . .
RUN /opt/lormas/bin/python -m lormas.assets build \
    && rm -rf frontend/node_modules frontend/build node_modules tests bench .git \
    && echo /app > "$(/opt/lormas/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lormas.pth" \
    && printf '#!/opt/lormas/bin/python\nimport sys\nfrom lormas.cli import main\nsys.exit(main())\n' > /opt/lormas/bin/lormas \
    && printf '#!/opt/lormas/bin/python\nimport sys\nfrom agent.cli import main\nsys.exit(main())\n' > /opt/lormas/bin/lormas-agent \
    && chmod 755 /opt/lormas/bin/lormas /opt/lormas/bin/lormas-agent \
    && /opt/lormas/bin/python -m compileall -q -j 0 .

FROM python:${PYTHON}-slim-bookworm
RUN groupadd --gid 10001 lormas && useradd --uid 10001 --gid lormas --no-create-home --home-dir /data lormas \
    && install -d -o lormas -g lormas -m 700 /data
COPY --from=built /opt/lormas /opt/lormas
COPY --from=built /build/src /app
ENV PATH=/opt/lormas/bin:$PATH PYTHONUNBUFFERED=1 LORMAS_DATA=/data HOST=0.0.0.0 PORT=8000 LOG_FORMAT=json MALLOC_ARENA_MAX=2
WORKDIR /app
USER lormas
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/healthz', headers={'Host': 'localhost'}); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "-m", "lormas.quickstart.web"]
