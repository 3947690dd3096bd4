# Segments scans on a CPU. Not built where this project is tested: the commands are those of README.md and docs.
#   docker build -t multijoint .
#   docker run --rm --network none --user "$(id -u)" -v "$PWD:/data" multijoint scan.nii.gz --domain ankle --checkpoint model.pt --out out
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
# Compiled here, for the user below may not write bytecode.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c /wheels/constraints.txt \
        "$(echo /wheels/multijoint-*.whl)[clinic,onnx]" \
    && rm -r /wheels \
    && useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["multijoint", "segment"]
