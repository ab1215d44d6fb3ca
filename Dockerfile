# docker build -t simcvd .                                      CPU
# docker build -t simcvd --build-arg TORCH="torch==2.13.0 --index-url ADDRESS" .
#                                                  CUDA: the address pytorch.org shows for your driver
# docker run --rm -v "$PWD":/data simcvd run --images SCANS --labels LABELS --out WORK
FROM python:3.13-slim

ARG TORCH="torch==2.13.0"
WORKDIR /opt/simcvd
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY src src
# The lock is complete but for torch, which comes first and with its own dependencies.
RUN pip install --no-cache-dir ${TORCH} \
 && pip install --no-cache-dir --constraint requirements.lock ".[review,dicom,onnx]"

RUN useradd --create-home simcvd
USER simcvd
WORKDIR /data
# Without a mounted folder there is nothing to work on, and what is written is lost with the container.
COPY --chmod=755 docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["--help"]
