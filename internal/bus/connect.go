package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// Auth is how to prove who we are to an external server. All fields are
// optional; URL may carry a token or user and password.
type Auth struct {
	URL      string // one or more, comma separated
	Creds    string // .creds file (JWT)
	NKey     string // NKey seed file
	CA       string // PEM file of the authority that signed the server
	Cert     string // client certificate, PEM
	Key      string // client key, PEM
	Name     string // connection name
	InboxTag string // reply subjects are _INBOX_<tag>.>, so that permissions can tell roles apart
}

// Connect connects and keeps reconnecting for ever: a server that is away is
// no reason to exit. Permission violations look like time-outs to the caller,
// so they are logged here.
func Connect(a Auth, log zerolog.Logger) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name(a.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.RetryOnFailedConnect(false),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(20 * time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			e := log.Warn().Err(err)
			if sub != nil {
				e = e.Str("subject", sub.Subject)
			}
			e.Msg("nats")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it
				log.Warn().Err(err).Msg("nats disconnected")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info().Str("server", nc.ConnectedServerName()).Msg("nats reconnected") }),
	}
	if a.InboxTag != "" {
		opts = append(opts, nats.CustomInboxPrefix("_INBOX_"+a.InboxTag))
	}
	if a.Creds != "" && a.NKey != "" {
		return nil, errors.New("AL_NATS_CREDS and AL_NATS_NKEY exclude each other: set one")
	}
	if a.Creds != "" {
		opts = append(opts, nats.UserCredentials(a.Creds))
	}
	if a.NKey != "" {
		opt, err := nats.NkeyOptionFromSeed(a.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey seed file: %w", err)
		}
		opts = append(opts, opt)
	}
	if a.CA != "" {
		opts = append(opts, nats.RootCAs(a.CA))
	}
	if (a.Cert == "") != (a.Key == "") {
		return nil, errors.New("AL_NATS_CERT and AL_NATS_KEY go together: set both")
	}
	if a.Cert != "" {
		opts = append(opts, nats.ClientCert(a.Cert, a.Key))
	}
	nc, err := nats.Connect(a.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	return nc, nil
}
