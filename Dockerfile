# The backend and its workers; compose.yaml runs both from this image.
FROM python:3.11-slim

ARG UV_VERSION=0.13.8
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 UV_NO_CACHE=1 UV_SYSTEM_PYTHON=1 UV_COMPILE_BYTECODE=1
WORKDIR /app

RUN pip install --no-cache-dir uv==$UV_VERSION

COPY requirements/ requirements/
RUN uv pip install --require-hashes --requirement requirements/cpu.txt
# its wheel is tagged for another Python; its own code needs no compiled part (docs/why/dependencies.md)
RUN site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
 && uv pip install --no-deps --require-hashes --python-version 3.10 --target "$site" -r requirements/detectron2.txt \
 && rm -r "$site/tools"

COPY . .
# editable: label_config/ and models/ lie beside the packages
RUN uv pip install --no-deps --no-build-isolation --editable . \
 && useradd --system --create-home --uid 10001 galaxyloop \
 && install --directory --owner galaxyloop /store /stamps /var/lib/galaxyloop

USER galaxyloop
ENV GALAXYLOOP_HOME=/var/lib/galaxyloop
EXPOSE 9090
ENTRYPOINT ["galaxyloop"]
CMD ["serve", "--host", "0.0.0.0", "--port", "9090"]
