// Package cloudtest runs real servers that speak as the three clouds do, for
// tests: versitygw for S3, fake-gcs-server for Google's and Azurite for
// Azure's. make deps installs them into the folder that NEXTBATCH_SERVERS
// names.
package cloudtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// StartS3 runs versitygw with some buckets, sets the environment in which AWS's
// clients find credentials, and returns its endpoint.
func StartS3(t testing.TB, buckets ...string) (endpoint string) {
	t.Helper()
	for key, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret-key", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(key, value)
	}
	data, meta := t.TempDir(), t.TempDir()
	for _, bucket := range buckets {
		if err := os.Mkdir(filepath.Join(data, bucket), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	addr := freeAddr(t)
	run(t, addr, server(t, "versitygw"), "--port", addr, "--access", "access", "--secret", "secret-key", "--quiet", "posix", "--sidecar", meta, data)
	return "http://" + addr
}

// S3URL is the URL of a bucket of such a server, for AL_CLOUD_BUCKETS.
func S3URL(endpoint, bucket string) string {
	return "s3://" + bucket + "?endpoint=" + url.QueryEscape(endpoint) + "&use_path_style=true&region=us-east-1"
}

// StartGCS runs fake-gcs-server with some buckets, sets the environment in which
// Google's client finds it, and returns its endpoint.
func StartGCS(t testing.TB, buckets ...string) (endpoint string) {
	t.Helper()
	data := t.TempDir()
	for _, bucket := range buckets {
		if err := os.Mkdir(filepath.Join(data, bucket), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	run(t, addr, server(t, "fake-gcs-server"), "-scheme", "http", "-host", host, "-port", port, "-backend", "filesystem", "-filesystem-root", data,
		"-public-host", addr, "-external-url", "http://"+addr, "-log-level", "error")
	t.Setenv("STORAGE_EMULATOR_HOST", addr)
	return "http://" + addr
}

// Account and key of Azurite, which its documentation names.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// StartAzure runs Azurite with some containers, sets the environment in which
// Go CDK finds account and key, and returns its host and port.
func StartAzure(t testing.TB, containers ...string) (addr string) {
	t.Helper()
	t.Setenv("AZURE_STORAGE_ACCOUNT", azureAccount)
	t.Setenv("AZURE_STORAGE_KEY", azureKey)
	addr = freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	run(t, addr, server(t, "node_modules/.bin/azurite-blob"), "--blobHost", host, "--blobPort", port, "--location", t.TempDir(), "--silent", "--skipApiVersionCheck", "--disableTelemetry")
	for _, container := range containers {
		createContainer(t, addr, container)
	}
	return addr
}

// AzureURL is the URL of a container of such a server, for AL_CLOUD_BUCKETS.
func AzureURL(addr, container string) string {
	return "azblob://" + container + "?protocol=http&localemu=true&domain=" + addr
}

// createContainer makes a container as the REST documentation of Azure has it.
func createContainer(t testing.TB, addr, container string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+addr+"/"+azureAccount+"/"+container+"?restype=container", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-ms-date", time.Now().UTC().Format(http.TimeFormat))
	r.Header.Set("x-ms-version", "2021-08-06")
	key, err := base64.StdEncoding.DecodeString(azureKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:%s\nx-ms-version:%s\n/%s/%s/%s\nrestype:container",
		r.Header.Get("x-ms-date"), r.Header.Get("x-ms-version"), azureAccount, azureAccount, container)
	r.Header.Set("Authorization", "SharedKey "+azureAccount+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("create container %s: %s", container, res.Status)
	}
}

// server returns the path of an installed server.
func server(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("NEXTBATCH_SERVERS")
	if dir == "" {
		t.Fatal("NEXTBATCH_SERVERS is not set: run make deps, then NEXTBATCH_SERVERS=$PWD/.servers go test -tags foreign …")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make deps", err)
	}
	return path
}

// freeAddr returns an address on which nothing listens at the moment.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run starts a program and waits until it listens. It ends with the test.
func run(t testing.TB, addr string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
	})
	deadline := time.After(time.Minute)
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("%s: %v\n%s", name, err, &out)
		case <-deadline:
			t.Fatalf("%s does not listen on %s", name, addr)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
