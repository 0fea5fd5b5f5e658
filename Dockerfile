# nnlab in a container. For CPU, and for NVIDIA GPUs (CUDA comes with the Python packages). Its commands were run by
# hand, in a fresh environment and as a user without a name; no image has been built of it yet.
#
#     docker build -t nnlab .
#     docker build -t nnlab:cuda --build-arg EXTRAS=cuda .
#
#     docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" nnlab train experiment.yaml
#     docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" --gpus all nnlab:cuda train experiment.yaml
FROM python:3.13-slim

ARG EXTRAS=""

WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY nnlab nnlab
COPY experiments experiments
RUN pip install --no-cache-dir --constraint requirements.lock ".${EXTRAS:+[$EXTRAS]}"

# results, and the caches of compiled programs, fonts and data sets, go where the caller may write
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/cache/matplotlib
WORKDIR /work
RUN chmod 1777 /work
USER 1000:1000
ENTRYPOINT ["nnlab"]
CMD ["--help"]
