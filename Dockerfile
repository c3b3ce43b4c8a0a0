# syntax=docker/dockerfile:1
# It stands at the top level because `docker build .` looks for it there.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
# What the command is built with: `--build-arg EXTRAS="crt age s3 notify metrics"`.
ARG EXTRAS="crt age s3"
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
# uv as the lock has it; then what the command needs, every file checked against its hash there.
RUN read -ra extras <<<"$EXTRAS" \
 && awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock >uv.txt \
 && python -m venv /uv \
 && /uv/bin/pip install --no-cache-dir --require-hashes -r uv.txt \
 && /uv/bin/uv venv /opt/bulkreset \
 && /uv/bin/uv pip install --no-cache --require-hashes --compile-bytecode --python /opt/bulkreset/bin/python \
      -c requirements.lock -r pyproject.toml "${extras[@]/#/--extra=}"
COPY bulkreset bulkreset
COPY jobs/demo.toml jobs/demo.toml
COPY samples/users.csv samples/users.csv
RUN /uv/bin/uv pip install --no-cache --no-deps --compile-bytecode --python /opt/bulkreset/bin/python \
      --build-constraints requirements.lock .

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin bulkreset \
 && install -d -o bulkreset -g bulkreset -m 0700 /runs
COPY --from=build /opt/bulkreset /opt/bulkreset
ENV PATH=/opt/bulkreset/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /runs
ENTRYPOINT ["bulkreset"]
CMD ["--help"]
