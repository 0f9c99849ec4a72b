# The backend and its workers; compose.yaml runs both from the target cpu, and workers on a GPU from the target cuda.
FROM python:3.11.13-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/venv/bin:$PATH
RUN useradd --system --create-home --uid 10001 galaxyloop \
 && install --directory --owner galaxyloop /store /stamps /var/lib/galaxyloop
WORKDIR /app

FROM base AS build
ARG UV_VERSION=0.13.8
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/venv
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m venv /venv && pip install --no-cache-dir uv==$UV_VERSION
COPY requirements/ requirements/
# its wheel is tagged for another Python; its own code needs no compiled part (docs/why/dependencies.md)
RUN site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
 && uv pip install --no-deps --require-hashes --python-version 3.10 --target "$site" -r requirements/detectron2.txt \
 && rm -r "$site/tools"

# the lock's PyTorch brings CUDA
FROM build AS build-cuda
RUN uv pip install --require-hashes --requirement requirements/cpu.txt
COPY . .
RUN uv pip install --no-deps --no-build-isolation --editable .

# PyTorch's own index has the same versions without CUDA: gigabytes less, but with other hashes than the lock's
FROM build AS build-cpu
RUN awk '/^[a-z]/ { cuda = /^(torch|torchvision|triton|cuda-[a-z]+|nvidia-(cu|nccl|nvj|nvs|nvt)[a-z0-9-]*)==/ } !cuda' \
      requirements/cpu.txt > without-cuda.txt \
 && uv pip install --no-deps --require-hashes --requirement without-cuda.txt \
 && grep --only-matching --extended-regexp '^(torch|torchvision)==[0-9.]+' requirements/cpu.txt > torch.txt \
 && uv pip install --no-deps --index-url https://download.pytorch.org/whl/cpu --requirement torch.txt
COPY . .
RUN uv pip install --no-deps --no-build-isolation --editable .

# the editable install is a path: label_config/ and models/ lie beside the packages
FROM base AS run
COPY . .
# the commit, which versions of models name: git is not in the image
ARG REVISION=unknown
RUN echo "$REVISION" > REVISION
USER 10001
ENV GALAXYLOOP_HOME=/var/lib/galaxyloop
EXPOSE 9090
ENTRYPOINT ["galaxyloop"]
CMD ["serve", "--host", "0.0.0.0", "--port", "9090"]

FROM run AS cuda
COPY --from=build-cuda /venv /venv

FROM run AS cpu
COPY --from=build-cpu /venv /venv
