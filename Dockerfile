# The service as an image: `docker build .` for the CPU, `docker build --target cuda .` for an NVIDIA GPU.
# Any image with Python 3.11 or newer and its venv module can be the base.
ARG BASE=python:3.11-slim-bookworm

# --- Builder: nothing of it ends in the image but what is copied from it below ---

FROM ${BASE} AS builder
# The time of every file in the layers below: they are the same whenever they are built, and those of the packages from
# commit to commit.
ENV SOURCE_DATE_EPOCH=0 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY pyproject.toml ./
COPY requirements requirements
# pip lives in an environment of its own, with what lists packages, so that the one that ships never holds it.
RUN python3 -m venv pip && python3 -m venv --without-pip /venv \
    && pip/bin/pip install --require-hashes --requirement requirements/list.txt
COPY scripts/image-layer .

# What the project needs, without the project: its source is copied as it is, and changes more often.
FROM builder AS venv-cpu
RUN pip/bin/pip --python /venv/bin/python install --no-compile --require-hashes --requirement requirements/cpu.txt \
    && ./image-layer

FROM builder AS venv-cuda
RUN pip/bin/pip --python /venv/bin/python install --no-compile --require-hashes --requirement requirements/cuda.txt \
    && ./image-layer

FROM builder AS source
WORKDIR /seedling
COPY models models
COPY app app
COPY seedling seedling
# Readable by the image's user whatever the umask of the checkout was.
RUN chmod -R a+rX . && PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash . \
    && find . -exec touch --date "@$SOURCE_DATE_EPOCH" {} +

# --- Runtime ---

FROM ${BASE} AS runtime
ARG BASE
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Seedling" \
      org.opencontainers.image.description="Grows images from seeds over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# The base's own pip, and what could bring it back, have no use here.
RUN rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip \
        /usr/lib/python3.*/ensurepip /usr/share/python-wheels
# ONNX Runtime's official wheels report to Microsoft unless told not to. The command `seedling` wants a place for a socket,
# and on a read-only root memory is the only one.
ENV ORT_DISABLE_TELEMETRY=1 \
    TMPDIR=/dev/shm \
    PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SEEDLING_HOST=0.0.0.0 \
    SEEDLING_PORT=8000
WORKDIR /seedling
# A number, so that Kubernetes can see that it is not root. Nothing is written, so it owns nothing.
USER 10001:10001
EXPOSE 8000
# Not urllib: it would ask the proxy that Docker may have put into the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SEEDLING_PORT']), timeout=2); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "app"]

FROM runtime AS cuda
# Without a GPU this image does not start, rather than serve slowly from the CPU.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility SEEDLING_PROVIDER=cuda
COPY --from=venv-cuda /venv /venv
COPY --from=source /seedling /seedling

FROM runtime AS cpu
COPY --from=venv-cpu /venv /venv
COPY --from=source /seedling /seedling
