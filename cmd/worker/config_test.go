package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kelseyhightower/envconfig"
)

// environ makes the environment of a test: no setting of ours but these.
func environ(t *testing.T, settings ...string) {
	t.Helper()
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "AL_") {
			t.Setenv(name, "") // so that it is restored
			os.Unsetenv(name)
		}
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
}

// variables are the names of the settings, by the table that envconfig works
// on. Its length is checked against the struct, so that no field can hide.
func variables(t *testing.T) []string {
	t.Helper()
	var b bytes.Buffer
	if err := envconfig.Usagef(prefix, &config{}, &b, "{{range .}}{{usage_key .}}\n{{end}}"); err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(b.String())
	if fields := reflect.TypeFor[config]().NumField(); len(names) != fields {
		t.Fatalf("%d settings for %d fields", len(names), fields)
	}
	return names
}

func TestConfigDefaults(t *testing.T) {
	environ(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	got, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"AL_DATA_DIR": filepath.Join(dir, "nextbatch-data"), "AL_INSTANCE": "nextbatch",
		"AL_NATS_ADDR": "127.0.0.1:4222", "AL_STORE_BYTES": byteSize(10 << 30),
		"AL_PROVISION": "auto", "AL_REPLICAS": 1, "AL_IN_BYTES": byteSize(2 << 30), "AL_STREAM_BYTES": byteSize(6 << 30),
		"AL_BLOB_URL": "file://" + filepath.Join(dir, "nextbatch-data/blobs"), "AL_ROOTS": []string{filepath.Join(dir, "nextbatch-data/files")},
		"AL_CACHE_DIR": filepath.Join(dir, "nextbatch-data/cache"), "AL_BUCKETS": []string{"al-data"}, "AL_REF_BYTES": byteSize(16 << 30), "AL_HTTP_ADDR": "127.0.0.1:8080",
		"AL_SLOTS": 2, "AL_LABELS_BATCH": 512, "AL_ACK_WAIT": 30 * time.Second, "AL_DEADLINE": 30 * time.Minute, "AL_DRAIN": 25 * time.Second,
		"AL_MAX_ATTEMPTS": 5, "AL_METHOD": "UHERDING", "AL_BATCH_SIZE": 100, "AL_LOG_LEVEL": "info",
		"AL_LABELSTUDIO_EVERY": 5 * time.Minute,
		"AL_CVAT_IMAGE_URL":    "{filename}", "AL_CVAT_JOB_SIZE": 50, "AL_CVAT_EVERY": 5 * time.Minute, "AL_CVAT_STAGE": "annotation", "AL_CVAT_EMPTY": "labeled",
	}
	set := map[string]any{}
	for i, name := range variables(t) {
		if v := reflect.ValueOf(got).Field(i); !v.IsZero() {
			set[name] = v.Interface()
		}
	}
	if name, _ := set["AL_NAME"].(string); !regexp.MustCompile(`-\d+$`).MatchString(name) {
		t.Errorf("AL_NAME %q, want host name and process id", name)
	}
	delete(set, "AL_NAME")
	if diff := cmp.Diff(want, set); diff != "" {
		t.Errorf("defaults, - want + got:\n%s", diff)
	}
	if got.StoreBytes < got.InBytes+got.StreamBytes {
		t.Errorf("the streams may grow to %d bytes in a store of %d", got.InBytes+got.StreamBytes, got.StoreBytes)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("reading the configuration made %v, %v", entries, err)
	}
}

// TestConfigReadsEveryVariable sets each variable to something else than its
// default.
func TestConfigReadsEveryVariable(t *testing.T) {
	values := map[string]string{
		"AL_PROVISION": "off", "AL_LOG_LEVEL": "warn", "AL_METHOD": "CORESET", "AL_ACK_WAIT": "7s", "AL_DEADLINE": "7m", "AL_DRAIN": "7s",
		"AL_BLOB_URL": "file:///b", "AL_DATA_DIR": "/d", "AL_NATS_ADDR": "127.0.0.1:7", "AL_HTTP_ADDR": "127.0.0.1:7",
		"AL_PUBLIC_URL": "http://p", "AL_LIGHTLY_URL": "http://l", "AL_LIGHTLY_DISTANCE_CAP": "auto", "AL_NATS_URL": "nats://n", "AL_TOKENS": "u:t",
		"AL_WEBHOOKS": "https://h", "AL_WEBHOOK_SECRETS": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
		"AL_LABELSTUDIO_URL": "http://s", "AL_LABELSTUDIO_PROJECTS": "d:7", "AL_LABELSTUDIO_IMAGE_URL": "{filename}", "AL_LABELSTUDIO_HOOK_URL": "http://h",
		"AL_LABELSTUDIO_SECRET": "0123456789abcdef", "AL_LABELSTUDIO_EVERY": "7m", "AL_LABELSTUDIO_PRELABELS": "true",
		"AL_CVAT_URL": "http://c", "AL_CVAT_PROJECTS": "d:7", "AL_CVAT_IMAGE_URL": "photos/{filename}", "AL_CVAT_HOOK_URL": "http://h",
		"AL_CVAT_SECRET": "7777777777777777", "AL_CVAT_EVERY": "7m", "AL_CVAT_STAGE": "acceptance", "AL_CVAT_EMPTY": "skipped", "AL_CVAT_HONEYPOTS": "0.7",
		"AL_CLOUD_BUCKETS": "s3://b", "AL_HTTPS_HOSTS": "h", "AL_HTTPS_NETWORKS": "10.0.0.0/8",
	}
	environ(t)
	defaults, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range variables(t) {
		value := values[name]
		if value == "" {
			value = "7" // a fine number, name and list
		}
		t.Setenv(name, value)
	}
	got, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	a, b := reflect.ValueOf(defaults), reflect.ValueOf(got)
	for i := range a.NumField() {
		if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			t.Errorf("%s stays %v", a.Type().Field(i).Name, a.Field(i))
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for _, test := range []struct {
		set  string // settings, separated by blanks
		want string // in the error
	}{
		{"AL_PROVISION=maybe", `AL_PROVISION is "maybe": want auto or off`},
		{"AL_PROVISION=", `AL_PROVISION`},
		{"AL_LOG_LEVEL=loud", `AL_LOG_LEVEL is "loud": want debug, info, warn or error`},
		{"AL_SLOTS=0", "AL_SLOTS is 0: must be at least 1"},
		{"AL_SLOTS=-3", "AL_SLOTS is -3"},
		{"AL_SLOTS=two", `AL_SLOTS is "two": want a whole number`},
		{"AL_SLOTS=", `AL_SLOTS is "": want a whole number`},
		{"AL_SLOTS=99999999999999999999", `AL_SLOTS is "99999999999999999999": want a whole number`},
		{"AL_MAX_ATTEMPTS=0", "AL_MAX_ATTEMPTS is 0"},
		{"AL_BATCH_SIZE=0", "AL_BATCH_SIZE is 0"},
		{"AL_REPLICAS=0", "AL_REPLICAS is 0"},
		{"AL_LABELS_BATCH=0", "AL_LABELS_BATCH is 0"},
		{"AL_ACK_WAIT=30", `AL_ACK_WAIT is "30": want a duration such as 30s`}, // of what unit?
		{"AL_LABELSTUDIO_PRELABELS=perhaps", `AL_LABELSTUDIO_PRELABELS is "perhaps": want true or false`},
		{"AL_CVAT_HONEYPOTS=5%", `AL_CVAT_HONEYPOTS is "5%": want a number such as 0.05`},
		{"AL_ACK_WAIT=999ms", "AL_ACK_WAIT is 999ms: must be at least 1s"},
		{"AL_LIGHTLY_DISTANCE_CAP=-1", `AL_LIGHTLY_DISTANCE_CAP: distance cap "-1": want a distance, 0 for none, or auto`},
		{"AL_LIGHTLY_URL=http://l", "AL_LIGHTLY_URL and AL_LIGHTLY_TOKEN go together"},
		{"AL_LIGHTLY_TOKEN=t", "AL_LIGHTLY_URL and AL_LIGHTLY_TOKEN go together"},
		{"AL_LABELSTUDIO_TOKEN=t", "AL_LABELSTUDIO_URL is not set"},
		{"AL_LABELSTUDIO_URL=h", `AL_LABELSTUDIO_URL is "h": want http://host`},
		{"AL_LABELSTUDIO_URL=http://h", "AL_LABELSTUDIO_TOKEN is not set"},
		{"AL_LABELSTUDIO_URL=http://h", "AL_LABELSTUDIO_PROJECTS is not set"},
		{"AL_LABELSTUDIO_URL=http://h AL_LABELSTUDIO_PROJECTS=a:1,b:1", `project 1 is of both "a" and "b"`},
		{"AL_LABELSTUDIO_URL=http://h AL_LABELSTUDIO_PROJECTS=a:0", `project of "a" is 0`},
		{"AL_LABELSTUDIO_URL=http://h AL_LABELSTUDIO_IMAGE_URL=s3://b", `AL_LABELSTUDIO_IMAGE_URL is "s3://b": want an address with {filename} in it`},
		{"AL_LABELSTUDIO_URL=http://h AL_LABELSTUDIO_HOOK_URL=worker:8080", `AL_LABELSTUDIO_HOOK_URL is "worker:8080"`},
		{"AL_LABELSTUDIO_URL=http://h AL_LABELSTUDIO_SECRET=short", "a secret of 5 characters: want at least 16"},
		{"AL_LABELSTUDIO_URL=http://h AL_LABELSTUDIO_TOKEN=@/no/such/file", "no such file"},
		// What would only show once events come, or never.
		{"AL_METHOD=CORALL", "AL_METHOD"},
		{"AL_METHOD=combined", "AL_METHOD: COMBINED is what strategies make"},
		{"AL_DEADLINE=-1s", "AL_DEADLINE"},
		{"AL_DRAIN=-1s", "AL_DRAIN"},
		{"AL_STORE_BYTES=-1", "AL_STORE_BYTES"},
		{"AL_IN_BYTES=-1", "AL_IN_BYTES"},
		{"AL_STREAM_BYTES=-1", "AL_STREAM_BYTES"},
		{"AL_REF_BYTES=-1", "AL_REF_BYTES"},
		{"AL_MEMORY_BYTES=-1", "AL_MEMORY_BYTES is -1"},
		{"AL_MEMORY_BYTES=4GB", `AL_MEMORY_BYTES is "4GB": want a number of bytes, such as 4294967296 or 4Gi`},
		{"AL_MEMORY_BYTES=4GiB", `AL_MEMORY_BYTES is "4GiB": want`},
		{"AL_MEMORY_BYTES=-1Gi", "AL_MEMORY_BYTES is -1073741824: must be at least 0"},
		{"AL_STORE_BYTES=Gi", `AL_STORE_BYTES is "Gi": want`},
		{"AL_STORE_BYTES=", `AL_STORE_BYTES is "": want`},
		{"AL_IN_BYTES=8388608Ti", `AL_IN_BYTES is "8388608Ti": want`}, // 2^63
		{"AL_BLOB_URL=s3://bucket", `AL_BLOB_URL is a bucket: set AL_PUBLIC_URL`},
		{"AL_BLOB_URL=ftp://bucket AL_PUBLIC_URL=http://p", `AL_BLOB_URL: want file:///directory`},
		{"AL_BLOB_URL=file://host/dir", `AL_BLOB_URL`},
		{"AL_CLOUD_BUCKETS=training", `AL_CLOUD_BUCKETS: want s3://bucket`},
		{"AL_CLOUD_BUCKETS=file:///data", `AL_CLOUD_BUCKETS`},
		{"AL_HTTPS_HOSTS=h AL_HTTPS_NETWORKS=10.0.0.1", `AL_HTTPS_NETWORKS: "10.0.0.1" is no network`},
		{"AL_HTTPS_NETWORKS=10.0.0.0/8", `AL_HTTPS_NETWORKS is for the hosts of AL_HTTPS_HOSTS`},
		{"AL_PUBLIC_URL=worker:8080", `AL_PUBLIC_URL`},
		// What would only show at the start.
		{"AL_NATS_ADDR=0.0.0.0:4222", `AL_NATS_ADDR is "0.0.0.0:4222": the embedded server listens on loopback only; for other machines run a nats-server and set AL_NATS_URL`},
		{"AL_NATS_ADDR=:4222", `AL_NATS_ADDR is ":4222": the embedded server listens on loopback only`},
		{"AL_NATS_ADDR=4222", `AL_NATS_ADDR is "4222"`},
		{"AL_NATS_ADDR=localhost", `AL_NATS_ADDR is "localhost": want host:port`},
		{"AL_HTTP_ADDR=8080", `AL_HTTP_ADDR is "8080": want host:port, or :port for every address of this machine`},
		{"AL_HTTP_ADDR=localhost:http-or-so", `AL_HTTP_ADDR is "localhost:http-or-so": want host:port`},
		{"AL_HTTP_ADDR=:80800", `AL_HTTP_ADDR is ":80800": want host:port`},
		{"AL_LIGHTLY_URL=l AL_LIGHTLY_TOKEN=t", `AL_LIGHTLY_URL: address of the platform: want http(s)://host[:port][/path]`},
		{"AL_BUCKETS=al.data", `AL_BUCKETS: "al.data" is no bucket name`},
		{"AL_HTTPS_HOSTS=https://files", `AL_HTTPS_HOSTS: "https://files" is no host of references: want host or host:port`},
		{"AL_WEBHOOKS=https://tool/hook", "AL_WEBHOOK_SECRETS"},
		{"AL_WEBHOOKS=tool/hook", "AL_WEBHOOKS, entry 1"},
		{"AL_CVAT_TOKEN=t", "AL_CVAT_URL is not set"},
		{"AL_CVAT_URL=http://c AL_CVAT_TOKEN=t", "AL_CVAT_PROJECTS is empty"},
		{"AL_CVAT_URL=http://c AL_CVAT_TOKEN=t AL_CVAT_PROJECTS=clothing", `AL_CVAT_PROJECTS is "clothing": want dataset:project, comma separated, where the project is a number`},
		{"AL_CVAT_URL=http://c AL_CVAT_TOKEN=t AL_CVAT_PROJECTS=d:7 AL_CVAT_HOOK_URL=http://h AL_CVAT_SECRET=1234567890123456 AL_HTTP_ADDR=", "AL_CVAT_HOOK_URL needs AL_HTTP_ADDR"},
		// Typos.
		{"AL_SLOT=3", "AL_SLOT;"},
		{"AL_NatsURL=nats://n", "AL_NatsURL"},
		{"AL_SLOTS=3 AL_MAXATTEMPTS=9", "AL_MAXATTEMPTS"},
	} {
		t.Run(test.set, func(t *testing.T) {
			environ(t, strings.Fields(test.set)...)
			_, err := loadConfig()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "unknown") && !strings.Contains(err.Error(), "--help") {
				t.Errorf("%q does not say where the names are", err)
			}
		})
	}
}

func TestByteSize(t *testing.T) {
	for value, want := range map[string]byteSize{
		"0": 0, "4294967296": 4 << 30, "1k": 1000, "1Ki": 1024, "3M": 3e6, "3Mi": 3 << 20, "4G": 4e9, "4Gi": 4 << 30, "2T": 2e12, "2Ti": 2 << 40,
		"9223372036854775807": math.MaxInt64, "8388607Ti": 8388607 << 40,
	} {
		var got byteSize
		if err := got.Decode(value); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", value, got, err, want)
		}
	}
	for _, value := range []string{"", "k", "Gi", "1K", "1kB", "1KB", "1KiB", "1m", "1.5Gi", "1 Gi", "1e3", "9223372036854775808", "9223373T", "0x"} {
		if got := byteSize(7); got.Decode(value) == nil || got != 7 {
			t.Errorf("%q is read as %d", value, got)
		}
	}
}

// TestSettingForms: every kind of setting that may be malformed has a form.
func TestSettingForms(t *testing.T) {
	for i := range reflect.TypeFor[config]().NumField() {
		f := reflect.TypeFor[config]().Field(i)
		switch name := f.Type.String(); name {
		case "string", "[]string", "events.DistanceCap": // reads anything, or says itself
		default:
			if settingForms[name] == "" {
				t.Errorf("no word on how %s, %s, is written", f.Name, name)
			}
		}
	}
}

// TestConfigWarning: only a server that others reach and none may use is worth
// a warning.
func TestConfigWarning(t *testing.T) {
	for _, test := range []struct {
		set  string
		want bool
	}{
		{"AL_HTTP_ADDR=:8080", true},
		{"AL_HTTP_ADDR=0.0.0.0:8080", true},
		{"AL_HTTP_ADDR=192.168.1.1:8080", true},
		{"AL_HTTP_ADDR=:8080 AL_TOKENS=me:secret", false},
		{"AL_HTTP_ADDR=[::1]:8080", false},
		{"AL_HTTP_ADDR=localhost:8080", false},
		{"AL_HTTP_ADDR=", false},
		{"AL_NATS_URL=nats://n AL_NATS_ADDR=0.0.0.0:4222", false}, // not used
	} {
		environ(t, strings.Fields(test.set)...)
		c, err := loadConfig()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.warning(); (got != "") != test.want {
			t.Errorf("%s: warning %q", test.set, got)
		}
	}
}

// TestDeployedSettings: the worker reads the settings of what there is to
// deploy, those of its secrets included, and has tokens where others reach it.
func TestDeployedSettings(t *testing.T) {
	pattern := regexp.MustCompile(`(AL_\w+)(?:=|, value: |: \$\{\w+:-|: )"?([^\s"},]*)`)
	for file, memory := range map[string]byteSize{
		"compose.yaml": 2 << 30, "kubernetes/embedded.yaml": 3 << 30, "kubernetes/external.yaml": 3 << 30, "systemd/nextbatch-worker.service": 6 << 30,
	} {
		text, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		var settings []string
		for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
			settings = append(settings, m[1]+"="+m[2])
		}
		environ(t, settings...)
		c, err := loadConfig()
		if err != nil || c.MemoryBytes != memory || c.warning() != "" {
			t.Errorf("%s: %v: memory %d, want %d; %v; warning %q", file, settings, c.MemoryBytes, memory, err, c.warning())
		}
	}
}

// TestConfigIgnoresForeignVariables: NATS_URL, HTTP_ADDR and their like belong to
// other programs.
func TestConfigIgnoresForeignVariables(t *testing.T) {
	environ(t)
	want, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range variables(t) {
		if bare := strings.TrimPrefix(name, "AL_"); strings.Contains(bare, "_") {
			t.Setenv(bare, "7")
		}
	}
	got, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read without AL_, - want + got:\n%s", diff)
	}
}

// TestConfigBlobDirectory: the blobs are below the data directory, whatever it is
// called.
func TestConfigBlobDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "50%41 of #1?")
	environ(t, "AL_DATA_DIR="+dir)
	c, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.openBlobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs")); err != nil {
		t.Errorf("AL_BLOB_URL %s leads elsewhere: %v", c.BlobURL, err)
	}
}

func TestUsageListsEveryVariable(t *testing.T) {
	var b bytes.Buffer
	usage(&b)
	for i, name := range variables(t) {
		field := reflect.TypeFor[config]().Field(i)
		line := regexp.MustCompile(`(?m)^  ` + name + ` +(.*)$`).FindStringSubmatch(b.String())
		if line == nil {
			t.Errorf("usage has no line for %s", name)
			continue
		}
		if about := field.Tag.Get("desc"); about == "" || !strings.HasPrefix(line[1], about) {
			t.Errorf("%s is described as %q, want %q", name, line[1], about)
		}
		if value := field.Tag.Get("default"); value != "" && !strings.HasSuffix(line[1], "["+value+"]") {
			t.Errorf("%s: %q does not show the default %s", name, line[1], value)
		}
	}
}
