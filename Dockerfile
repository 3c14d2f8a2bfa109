# The set-up of the Makefile in an image; Apptainer reads it too. tests/test_container.py holds the two together.
# On machines without a GPU: --build-arg PIP_EXTRA_INDEX_URL=..., with the address of PyTorch's index of CPU wheels.
FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /scfm-bench
RUN python -m pip install --quiet --upgrade pip
COPY requirements.lock .
RUN python -m pip install --quiet --requirement requirements.lock
COPY . .
RUN python -m pip install --quiet --no-deps --editable .
ENV BENCH_CACHE=/cache BENCH_RESULTS=/results
CMD ["bench", "list"]
