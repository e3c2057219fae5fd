package webhook

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"nextbatch/internal/events"
)

// Hook is a receiver of results.
type Hook struct {
	Name     string
	types    []string // none: all
	datasets []string // none: all
	url      string
	secrets  [][]byte
}

// Durable is the name of the hook's consumer of the stream AL.
func (h Hook) Durable() string { return "al-webhook-" + h.Name }

// subjects are what the hook is sent.
func (h Hook) subjects() []string {
	if len(h.types)+len(h.datasets) == 0 {
		return []string{"al.v1.out.>"}
	}
	types := h.types
	if len(types) == 0 {
		types = events.OutputTypes
	}
	var all []string
	for _, t := range types {
		if len(h.datasets) == 0 {
			all = append(all, "al.v1.out."+t+".*")
		}
		for _, d := range h.datasets {
			all = append(all, events.OutSubject(t, d))
		}
	}
	return all
}

// Limits of secrets, in bytes, by Standard Webhooks.
const (
	minSecret = 24
	maxSecret = 64
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Parse reads AL_WEBHOOKS and AL_WEBHOOK_SECRETS. A hook is
//
//	URL[;name=NAME][;types=TYPE|TYPE][;datasets=NAME|NAME]
//
// and a secret [NAME:][whsec_]BASE64: of that hook, or of those that have none
// of their own. Errors repeat neither secrets nor URLs, which may hold one.
func Parse(hooks, secrets []string) ([]Hook, error) {
	common, own, faults := parseSecrets(secrets)
	var all []Hook
	for i, entry := range hooks {
		h, err := parseHook(entry)
		if err == nil && slices.ContainsFunc(all, func(o Hook) bool { return o.Name == h.Name }) {
			err = fmt.Errorf("there is another hook %s: give each a name=", h.Name)
		}
		if h.secrets = common; own[h.Name] != nil {
			h.secrets = own[h.Name]
			delete(own, h.Name)
		}
		if err == nil && len(h.secrets) == 0 {
			err = errors.New("it has no secret: set AL_WEBHOOK_SECRETS, for example to what openssl rand -base64 32 prints")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("AL_WEBHOOKS, entry %d: %w", i+1, err))
		}
		all = append(all, h)
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		faults = append(faults, fmt.Errorf("AL_WEBHOOK_SECRETS: there is no hook %s", name))
	}
	return all, errors.Join(faults...)
}

func parseHook(entry string) (h Hook, err error) {
	parts := strings.Split(entry, ";")
	u, err := url.Parse(strings.TrimSpace(parts[0]))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Fragment != "" {
		return h, errors.New("want https://host/path or http://host/path, then ;name=, ;types= and ;datasets= as needed")
	}
	h.url = u.String()
	digest := sha256.Sum256([]byte(u.Scheme + "://" + u.Host + u.EscapedPath())) // without what a secret may be in
	h.Name = hex.EncodeToString(digest[:6])
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		list := strings.Split(value, "|")
		slices.Sort(list)
		list = slices.Compact(list) // filters of a consumer must not overlap
		switch key {
		case "name":
			if h.Name = value; !namePattern.MatchString(value) {
				return h, fmt.Errorf("name is %.40q: want up to 32 lower-case letters, digits and hyphens", value)
			}
		case "types":
			for _, t := range list {
				if !slices.Contains(events.OutputTypes, t) {
					return h, fmt.Errorf("type %.40q: want some of %s", t, strings.Join(events.OutputTypes, "|"))
				}
			}
			h.types = list
		case "datasets":
			if slices.Contains(list, "") {
				return h, errors.New("datasets has an empty name")
			}
			h.datasets = list
		default:
			return h, fmt.Errorf("%.40q after the URL: want name=, types= or datasets=", key)
		}
	}
	return h, nil
}

// parseSecrets returns the secrets of all hooks, and those of single ones.
func parseSecrets(list []string) (common [][]byte, own map[string][][]byte, faults []error) {
	own = map[string][][]byte{}
	for i, entry := range list {
		name, text, of := strings.Cut(strings.TrimSpace(entry), ":")
		if !of {
			name, text = "", name
		}
		secret, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimPrefix(text, "whsec_"), "="))
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("AL_WEBHOOK_SECRETS, entry %d: want whsec_ and base64, or the name of a hook, a colon and that", i+1))
		case len(secret) < minSecret || len(secret) > maxSecret:
			faults = append(faults, fmt.Errorf("AL_WEBHOOK_SECRETS, entry %d: %d bytes, want %d to %d: openssl rand -base64 32 makes a good one", i+1, len(secret), minSecret, maxSecret))
		case of:
			own[name] = append(own[name], secret)
		default:
			common = append(common, secret)
		}
	}
	return common, own, faults
}
