# docker build -t rggan .                                     # for a CPU
# docker build -t rggan:cuda --build-arg TORCH_INDEX= .       # for an NVIDIA GPU: PyPI's build of PyTorch brings CUDA's libraries
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" rggan train my-pictures
# docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" rggan:cuda train my-pictures
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
# --user may name anybody: what is cached goes where anybody may write
ENV RGGAN_CACHE=/tmp/rggan MPLCONFIGDIR=/tmp/matplotlib

RUN PIP_INDEX_URL="$TORCH_INDEX" pip install "torch>=2.9,<3"

COPY pyproject.toml README.md LICENSE /source/
COPY rggan /source/rggan
RUN pip install "/source[video]" && rm -r /source && useradd --uid 1000 rggan

USER 1000
WORKDIR /work
ENTRYPOINT ["rggan"]
