package lightly

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
)

// access says what a request must show.
type access int

const (
	byToken access = iota // the token of a user
	open                  // nothing: the client asks before it has a token
	signed                // the signature in the URL: for whoever has it
)

// credential is a user and the SHA-256 of the token: of equal length, so that
// comparing takes the same time whatever is sent.
type credential struct {
	user   string
	digest [32]byte
}

// localUser is whoever connects where no tokens are set.
const localUser = "local"

var userPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckTokens reports what is wrong with ServerConfig.Tokens.
func CheckTokens(list []string) error {
	_, err := parseTokens(list)
	return err
}

// parseTokens reads user:token. Its errors do not repeat tokens.
func parseTokens(list []string) (all []credential, err error) {
	var faults []error
	seen := map[[32]byte]bool{}
	for i, entry := range list {
		user, token, ok := strings.Cut(entry, ":")
		digest := sha256.Sum256([]byte(token))
		switch {
		case !ok || token == "" || !userPattern.MatchString(user):
			faults = append(faults, fmt.Errorf("AL_TOKENS, entry %d: want user:token, the user of letters, digits and . _ -", i+1))
		case seen[digest]:
			faults = append(faults, fmt.Errorf("AL_TOKENS, entry %d: the token of %s is also that of another entry", i+1, user))
		}
		seen[digest] = true
		all = append(all, credential{user, digest})
	}
	return all, errors.Join(faults...)
}

var crossOrigin = http.NewCrossOriginProtection()

// authorize finds the user of a request.
func (s *Server) authorize(c *call, need access) error {
	if len(s.tokens) == 0 && s.cfg.Loopback && !loopbackHost(c.r.Host) {
		// A page of another site, whose name was made to resolve to this machine.
		return refuse(http.StatusForbidden, "FORBIDDEN", "without AL_TOKENS this server answers to localhost and 127.0.0.1 only, not to the name it was called by")
	}
	if len(s.tokens) == 0 && crossOrigin.Check(c.r) != nil { // a browser sends it for such a page: any token would do
		return refuse(http.StatusForbidden, "FORBIDDEN", "without AL_TOKENS this server changes nothing for pages of other sites")
	}
	switch need {
	case open:
		return nil
	case signed:
		return c.checkSignature()
	}
	token := c.token()
	if len(s.tokens) == 0 {
		switch {
		case !s.cfg.Loopback:
			return refuse(http.StatusUnauthorized, "UNAUTHORIZED", "this server can be reached from other machines but has no tokens: set AL_TOKENS=user:token")
		case token == "":
			return refuse(http.StatusUnauthorized, "UNAUTHORIZED", "the token is missing, as the query parameter token or as Authorization: Bearer; any token will do")
		}
		c.user = localUser
		return nil
	}
	digest := sha256.Sum256([]byte(token))
	for _, known := range s.tokens { // all of them: the time tells nothing
		if subtle.ConstantTimeCompare(digest[:], known.digest[:]) == 1 {
			c.user = known.user
		}
	}
	if c.user == "" {
		return refuse(http.StatusUnauthorized, "UNAUTHORIZED", "the token is missing or not known")
	}
	return nil
}

// token is what a request shows: in the header that keeps it out of URLs and
// logs, or in the query, as Lightly's clients send it, or as senders of
// CloudEvents may.
func (c *call) token() string {
	if scheme, token, ok := strings.Cut(c.r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	if token := c.args.Get("token"); token != "" {
		return token
	}
	return c.args.Get("access_token")
}

// loopbackHost reports whether a Host header names this machine.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
