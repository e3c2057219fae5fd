package labelstudio

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// refusedToken says what may be the matter with a token that is refused.
func refusedToken(token string) string {
	switch parts := strings.Split(token, "."); {
	case isJWT(token):
		return "the personal access token is refused: it was revoked or has expired, or it is of another Label Studio; make a new one under Account & Settings > Personal Access Token"
	case len(parts) == 2 && strings.HasPrefix(token, "eyJ"):
		return "this personal access token was copied without its end: it has two parts where there must be three; Label Studio shows it whole only once, so make a new one"
	default:
		return "this looks like a legacy token: these are off in new organizations; switch them on under Organization > Access Token Settings, or use a personal access token from Account & Settings"
	}
}

// isJWT tells a personal access token from a legacy one.
func isJWT(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	return err == nil && json.Valid(header)
}

// authorization is what a request has to carry. A personal access token is
// exchanged for one that lasts some minutes.
func (c *client) authorization(ctx context.Context) (string, error) {
	if !isJWT(c.token) {
		return "Token " + c.token, nil
	}
	c.bearer.mu.Lock()
	defer c.bearer.mu.Unlock()
	if c.bearer.token == "" {
		body, err := json.Marshal(map[string]string{"refresh": c.token})
		if err != nil {
			return "", err
		}
		var answer struct{ Access string }
		if err := c.send(ctx, http.MethodPost, "/api/token/refresh/", body, &answer, ""); err != nil {
			return "", err
		}
		c.bearer.token = answer.Access
	}
	return "Bearer " + c.bearer.token, nil
}

// bearer is what a personal access token was exchanged for.
type bearer struct {
	mu    sync.Mutex // guards token
	token string     // "": nothing yet
}

// forget lets the next request exchange the token again.
func (b *bearer) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.token = ""
}
