package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
	"github.com/rs/zerolog"

	"nextbatch/internal/bus"
	"nextbatch/internal/events"
	"nextbatch/internal/lightly"
	"nextbatch/internal/selection"
	"nextbatch/internal/webhook"
)

// prefix of every environment variable.
const prefix = "al"

// config is the whole configuration. Every field can be left out.
type config struct {
	DataDir  string `split_words:"true" default:"nextbatch-data" desc:"directory of the embedded server's store, blobs and access token"`
	Name     string `desc:"name of this replica in job records; default host name and process id"`
	Instance string `default:"nextbatch" desc:"name of the installation, in the source of its events"`

	NatsURL    string   `split_words:"true" desc:"external NATS server(s), comma separated; empty: an embedded server on loopback"`
	NatsCreds  string   `split_words:"true" desc:"credentials file (JWT) for the external server"`
	NatsNkey   string   `split_words:"true" desc:"NKey seed file for the external server"`
	NatsCA     string   `split_words:"true" desc:"PEM file of the authority that signed the server's certificate"`
	NatsCert   string   `split_words:"true" desc:"client certificate, PEM"`
	NatsKey    string   `split_words:"true" desc:"key of the client certificate, PEM"`
	NatsInbox  string   `split_words:"true" desc:"reply subjects are _INBOX_<this>.>, for permissions by role"`
	NatsAddr   string   `split_words:"true" default:"127.0.0.1:4222" desc:"where the embedded server listens; loopback only"`
	StoreBytes byteSize `split_words:"true" default:"10Gi" desc:"file storage of the embedded server"`

	Provision   string   `default:"auto" desc:"auto: create missing streams and consumers; off: verify only"`
	Replicas    int      `default:"1" desc:"copies of each stream in a cluster"`
	InBytes     byteSize `split_words:"true" default:"2Gi" desc:"size limit of the stream AL_IN"`
	StreamBytes byteSize `split_words:"true" default:"6Gi" desc:"size limit of the stream AL"`

	BlobURL  string   `split_words:"true" desc:"where large objects are kept: file:///dir, shared by all replicas, or s3://, gs:// or azblob:// as in AL_CLOUD_BUCKETS, then with AL_PUBLIC_URL; default <data dir>/blobs"`
	Roots    []string `desc:"directories below which file:// references are allowed; default <data dir>/files"`
	Buckets  []string `default:"al-data" desc:"JetStream object store buckets that nats:// references may name"`
	RefBytes byteSize `split_words:"true" default:"16Gi" desc:"largest object, or objects together, that a reference may point to"`

	CloudBuckets  []string `split_words:"true" desc:"buckets that s3://, gs:// and azblob:// references may name: scheme://bucket/folder?parameters of Go CDK, comma separated; credentials as the clouds' own tools find them"`
	HTTPSHosts    []string `split_words:"true" desc:"hosts that https:// references may name, host or host:port; empty: none"`
	HTTPSNetworks []string `split_words:"true" desc:"private networks in which these hosts may be, such as 10.0.0.0/8; empty: public addresses only"`
	CacheDir      string   `split_words:"true" desc:"where objects are copied while they are read, and blobs of a bucket while they are in use; default <data dir>/cache"`

	HTTPAddr  string   `split_words:"true" default:"127.0.0.1:8080" desc:"address of the Lightly API, health, metrics, schemas and blobs; empty: no HTTP"`
	PublicURL string   `split_words:"true" desc:"base URL of this service in datarefs and signed URLs; empty: file:// datarefs"`
	Tokens    []string `desc:"user:token of the Lightly API, comma separated; empty: any token, on a loopback address only"`

	Webhooks       []string `desc:"URL[;name=N][;types=T|T][;datasets=D|D], comma separated: where results are posted to"`
	WebhookSecrets []string `split_words:"true" desc:"[NAME:]whsec_BASE64 that posts are signed with, comma separated; several while you change them"`

	Slots       int           `default:"2" desc:"jobs at a time"`
	MemoryBytes byteSize      `split_words:"true" desc:"memory that jobs may take together, embeddings included; default 80 % of what the machine or its cgroup gives"`
	LabelsBatch int           `split_words:"true" default:"512" desc:"labels.completed folded at a time"`
	AckWait     time.Duration `split_words:"true" default:"30s" desc:"lease of a delivery"`
	Deadline    time.Duration `default:"30m" desc:"longest attempt at one event"`
	Drain       time.Duration `default:"25s" desc:"how long jobs may go on after SIGTERM"`
	MaxAttempts int           `split_words:"true" default:"5" desc:"attempts before an event becomes a dead letter"`

	Method    string `default:"UHERDING" desc:"selection method where an event names none"`
	BatchSize int    `split_words:"true" default:"100" desc:"batch size where an event gives none"`

	LightlyURL   string `split_words:"true" desc:"send sampling queries to this Lightly-compatible platform instead"`
	LightlyToken string `split_words:"true" desc:"token for it"`

	LightlyDistanceCap events.DistanceCap `split_words:"true" default:"0" desc:"distance_cap of CORAL in the Lightly API, whose clients have no word for it: a distance or auto; 0: none"`

	LabelstudioURL       string         `split_words:"true" desc:"connect this Label Studio"`
	LabelstudioToken     string         `split_words:"true" desc:"personal access token or legacy token for it, or @ and the name of a file with it"`
	LabelstudioProjects  map[string]int `split_words:"true" desc:"dataset:project, comma separated; the number is that in the project's address"`
	LabelstudioImageURL  string         `split_words:"true" desc:"where its users find an image, such as s3://bucket/{dataset}/{filename}"`
	LabelstudioHookURL   string         `split_words:"true" desc:"base URL of this service as Label Studio reaches it, for its webhooks; empty: labels are only looked for from time to time"`
	LabelstudioPrelabels bool           `split_words:"true" desc:"tasks come with the most probable class of classifications; its project needs as many <Choices> as there are classes, in their order"`
	LabelstudioSecret    []string       `split_words:"true" desc:"secrets that its webhooks may carry, comma separated; new webhooks get the first; default: one is made up"`
	LabelstudioEvery     time.Duration  `split_words:"true" default:"5m" desc:"how often labels are looked for that no webhook told of"`

	CvatURL          string         `split_words:"true" desc:"connect this CVAT"`
	CvatToken        string         `split_words:"true" desc:"personal access token for it, or @ and the name of a file with it"`
	CvatOrg          string         `split_words:"true" desc:"short name of the organization; empty: the workspace of the token's user"`
	CvatProjects     map[string]int `split_words:"true" desc:"dataset:project, comma separated; the number is that in the project's address"`
	CvatImageURL     string         `split_words:"true" default:"{filename}" desc:"where it finds an image: a URL, or a path on its share or cloud storage"`
	CvatCloudStorage int            `split_words:"true" desc:"number of the cloud storage that has the images; 0: the share"`
	CvatJobSize      int            `split_words:"true" default:"50" desc:"images per job"`
	CvatHookURL      string         `split_words:"true" desc:"base URL of this service as CVAT reaches it, for its webhooks; empty: labels are only looked for from time to time"`
	CvatSecret       []string       `split_words:"true" desc:"secrets that its webhooks may be signed with, comma separated; new webhooks get the first"`
	CvatEvery        time.Duration  `split_words:"true" default:"5m" desc:"how often labels are looked for that no webhook told of"`
	CvatStage        string         `split_words:"true" default:"annotation" desc:"stage in which a completed job counts: annotation, validation or acceptance"`
	CvatEmpty        string         `split_words:"true" default:"labeled" desc:"an image without annotations in such a job is labeled or skipped"`
	CvatHoneypots    float64        `split_words:"true" desc:"share of labeled images in each job, to check annotators by; mixes the order"`

	LogLevel string `split_words:"true" default:"info" desc:"debug, info, warn or error"`
}

// loadConfig reads the environment. A variable with our prefix that we do not
// know is an error: a typo must not be ignored.
func loadConfig() (config, error) {
	var c config
	if err := envconfig.CheckDisallowed(prefix, &c); err != nil {
		return c, fmt.Errorf("%w; worker --help lists those that exist", err)
	}
	if err := envconfig.Process(prefix, &c); err != nil {
		return c, explainSetting(err)
	}
	switch c.Provision {
	case "auto", "off":
	default:
		return c, fmt.Errorf("AL_PROVISION is %q: want auto or off", c.Provision)
	}
	c.Method = strings.ToUpper(c.Method)
	if err := selection.Method(c.Method).Check(); err != nil {
		return c, fmt.Errorf("AL_METHOD: %w; worker --help lists the settings", err)
	}
	if c.Method == events.Combined {
		return c, fmt.Errorf("AL_METHOD: %w, in an event or in the policy of a dataset", events.ErrCombined)
	}
	if _, err := zerolog.ParseLevel(c.LogLevel); err != nil {
		return c, fmt.Errorf("AL_LOG_LEVEL is %q: want debug, info, warn or error", c.LogLevel)
	}
	for _, n := range []struct {
		name  string
		value int64
	}{{"AL_SLOTS", int64(c.Slots)}, {"AL_MAX_ATTEMPTS", int64(c.MaxAttempts)}, {"AL_BATCH_SIZE", int64(c.BatchSize)},
		{"AL_REPLICAS", int64(c.Replicas)}, {"AL_LABELS_BATCH", int64(c.LabelsBatch)}, {"AL_STORE_BYTES", int64(c.StoreBytes)}, {"AL_IN_BYTES", int64(c.InBytes)},
		{"AL_STREAM_BYTES", int64(c.StreamBytes)}, {"AL_REF_BYTES", int64(c.RefBytes)}} {
		if n.value < 1 {
			return c, fmt.Errorf("%s is %d: must be at least 1", n.name, n.value)
		}
	}
	if c.MemoryBytes < 0 {
		return c, fmt.Errorf("AL_MEMORY_BYTES is %d: must be at least 0, for the default", c.MemoryBytes)
	}
	if c.Deadline <= 0 || c.Drain <= 0 {
		return c, fmt.Errorf("AL_DEADLINE is %v and AL_DRAIN is %v: both must be positive", c.Deadline, c.Drain)
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return c, fmt.Errorf("AL_PUBLIC_URL is %q: want http://host or https://host", c.PublicURL)
	}
	if err := c.checkAddresses(); err != nil {
		return c, err
	}
	if err := c.checkReferences(); err != nil {
		return c, err
	}
	if err := lightly.CheckTokens(c.Tokens); err != nil {
		return c, err
	}
	if _, err := webhook.Parse(c.Webhooks, c.WebhookSecrets); err != nil {
		return c, err
	}
	if c.AckWait < time.Second {
		return c, fmt.Errorf("AL_ACK_WAIT is %v: must be at least 1s", c.AckWait)
	}
	if (c.LightlyURL == "") != (c.LightlyToken == "") {
		return c, fmt.Errorf("AL_LIGHTLY_URL and AL_LIGHTLY_TOKEN go together: set both")
	}
	if c.LightlyURL != "" {
		if _, err := c.platform(); err != nil {
			return c, err
		}
	}
	if err := c.loadLabelStudio(); err != nil {
		return c, err
	}
	if err := c.loadCvat(); err != nil {
		return c, err
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, err
	}
	c.DataDir = dir
	if c.Name == "" {
		host, _ := os.Hostname()
		c.Name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.BlobURL == "" {
		c.BlobURL = fileURL(filepath.Join(dir, "blobs"))
	}
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(dir, "cache")
	}
	if len(c.Roots) == 0 {
		c.Roots = []string{filepath.Join(dir, "files")}
	}
	return c, nil
}

// checkAddresses checks where the worker is to listen.
func (c config) checkAddresses() error {
	if c.NatsURL == "" {
		if err := (bus.EmbeddedConfig{Addr: c.NatsAddr}).Check(); err != nil {
			return err
		}
	}
	if c.HTTPAddr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(c.HTTPAddr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("AL_HTTP_ADDR is %q: want host:port, or :port for every address of this machine", c.HTTPAddr)
	}
	return nil
}

// warning says what a configuration with which the worker starts lacks, or nothing.
func (c config) warning() string {
	if c.HTTPAddr == "" || len(c.Tokens) > 0 || loopbackOnly(c.HTTPAddr) {
		return ""
	}
	return fmt.Sprintf("AL_HTTP_ADDR is %q, which other machines can reach, and AL_TOKENS is not set: every call of the API is refused; set AL_TOKENS=user:token", c.HTTPAddr)
}

// platform is the client of AL_LIGHTLY_URL.
func (c config) platform() (*lightly.Client, error) {
	client, err := lightly.New(lightly.Config{BaseURL: c.LightlyURL, Token: c.LightlyToken})
	if err != nil {
		return nil, fmt.Errorf("AL_LIGHTLY_URL: %w", err)
	}
	return client, nil
}

func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }

// usageConfig prints the table of variables.
func usageConfig(w io.Writer) {
	fmt.Fprintln(w, "Environment; sizes are in bytes, or with Ki, Mi, Gi, Ti, k, M, G or T:")
	envconfig.Usagef(prefix, &config{}, w, `{{range .}}  {{printf "%-18s" (usage_key .)}} {{usage_description .}}{{if usage_default .}} [{{usage_default .}}]{{end}}
{{end}}`)
}
