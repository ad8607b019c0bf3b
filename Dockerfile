# docker build -t digit . && docker run -p 8888:8888 --shm-size=2g digit
FROM python:3.11-slim
# Debian removes superseded versions, so none is pinned.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends make git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /digit
COPY . .
# Editable, so that the notebooks find data/ and runs/ of this folder.
RUN python -m pip install --no-cache-dir -c constraints.txt -e '.[lab]'
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--allow-root", "--ServerApp.root_dir=."]
