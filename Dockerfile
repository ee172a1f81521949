# On processors:          docker build -t querypose_jax .
# On NVIDIA's GPUs:       docker build -t querypose_jax --build-arg JAX=cuda12 .   (and docker run --gpus all)
# docs/docker.md shows what to run.
FROM python:3.12-slim

ARG JAX=""

WORKDIR /opt/querypose_jax
COPY pyproject.toml README.md LICENSE launch.py ./
COPY querypose_jax querypose_jax
COPY kernels kernels
COPY input_pipeline input_pipeline
COPY configs configs
RUN python -m pip install --no-cache-dir --disable-pip-version-check ".[train,video,heic]"
RUN if [ -n "$JAX" ]; then python -m pip install --no-cache-dir --disable-pip-version-check "jax[$JAX]"; fi

# Nothing runs as root; runs and prepared data are written where the command is called.
RUN useradd --create-home --uid 1000 user && mkdir /data && chown user /data
USER user
WORKDIR /data
ENTRYPOINT ["python", "-m", "launch"]
CMD ["--help"]
