# MUNIT on a GPU server. The server needs an NVIDIA driver and the NVIDIA Container Toolkit.
#
# Build, in the project root:
#
#     docker build --tag munit .
#
# Run:
#
#     mkdir -p datasets models outputs logs
#     docker run --rm -it --gpus all --ipc=host --user "$(id -u):$(id -g)" \
#         -v "$PWD/datasets:/munit/datasets" -v "$PWD/models:/munit/models" \
#         -v "$PWD/outputs:/munit/outputs" -v "$PWD/logs:/munit/logs" \
#         munit python train.py --config configs/edges2shoes_folder.yaml
#
#   --ipc=host   loader workers hand images over in shared memory, of which a container has 64 MB by default;
#                --shm-size=8g does too, where sharing the host's is not allowed
#   --user       files in the mounted folders belong to you; without it, to the image's own user (munit)
#   -v           what is not mounted is lost with the container
#
# CUDA 13.0 wants driver 580 or newer and a GPU of 2018 (Turing) or newer. For others, build on CUDA 12.6:
#
#     docker build --tag munit --build-arg PYTORCH=2.14.0-cuda12.6-cudnn9-runtime .

ARG PYTORCH=2.14.0-cuda13.0-cudnn9-runtime
FROM pytorch/pytorch:${PYTORCH}

# curl is for the data scripts. It is not pinned: Ubuntu removes old versions, and then the build would break.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /munit

# The image's torch and torchvision were built for its CUDA. The constraint holds pip to exactly these two, so that
# none of the other requirements can bring in a second PyTorch of several GB. The system's Python is the container's
# only one, so breaking it for others is no danger. Only this file is copied first: a change of code keeps the layer.
COPY requirements.txt ./
RUN python -c "from importlib.metadata import version; [print(f'{p}=={version(p)}') for p in ('torch', 'torchvision')]" \
        > /tmp/pytorch.txt \
    && pip install --no-cache-dir --break-system-packages --constraint /tmp/pytorch.txt --requirement requirements.txt \
    && rm /tmp/pytorch.txt

COPY . .

# Open to every user, because --user may name one that the image does not know.
RUN useradd --create-home --uid 10001 munit \
    && mkdir -p datasets models outputs logs \
    && chmod 777 datasets models outputs logs

# Such a user has neither a home nor a name: HOME and USER stand in (PyTorch asks for both), and torchvision's downloads
# go to the mounted models. MUNIT_PYTHON tells the scripts to take this Python and make no environment.
ENV HOME=/tmp \
    USER=munit \
    TORCH_HOME=/munit/models/torch \
    MUNIT_PYTHON=python \
    PYTHONUNBUFFERED=1

VOLUME ["/munit/datasets", "/munit/models", "/munit/outputs", "/munit/logs"]
USER 10001
CMD ["python", "train.py", "--help"]
