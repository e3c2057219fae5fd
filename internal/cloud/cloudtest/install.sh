#!/bin/sh
# Installs the servers of the tests into a folder. It needs Go and npm.
set -eu
mkdir -p "$1"
export GOBIN="$1" GOFLAGS=
cd "$1" # outside of the module
go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
go install github.com/fsouza/fake-gcs-server@v1.56.1
npm install --prefix "$1" --silent --no-fund --no-audit --no-save --omit=optional --ignore-scripts azurite@3.37.0
