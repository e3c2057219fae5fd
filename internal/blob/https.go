package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxRedirects is how often a server may send the worker on.
const maxRedirects = 5

// web reads https:// references.
type web struct {
	hosts    []string       // host, or host:port where the port is not 443
	networks []netip.Prefix // where hosts may be besides the public internet
	client   *http.Client
}

func newWeb(hosts []string, networks []netip.Prefix, stall time.Duration) *web {
	w := &web{networks: networks}
	for _, host := range hosts {
		w.hosts = append(w.hosts, canonicalHost(host))
	}
	dialer := &net.Dialer{Timeout: stall, Control: w.control}
	w.client = &http.Client{
		CheckRedirect: w.redirect,
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would look up the name, and its answer is not checked
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    stall,
			ResponseHeaderTimeout:  stall,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // sizes and digests are of the bytes that are sent
			DisableKeepAlives:      true, // every request is checked anew
		},
	}
	return w
}

func canonicalHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ":443") }

// control is called with the very address that is connected to, after names
// were looked up: a name that means another address the next time gains
// nothing by it.
func (w *web) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err == nil {
		err = checkAddress(at.Addr(), w.networks)
	}
	if err != nil {
		return notAllowed("is on a host that this worker may not reach: " + err.Error())
	}
	return nil
}

func (w *web) redirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fault("bad_reference", "", "is redirected more than %d times", maxRedirects)
	case r.URL.Scheme != "https" || r.URL.User != nil || !w.allows(r.URL.Host):
		return notAllowed("is redirected to " + show(r.URL.Scheme+"://"+r.URL.Host) + ", which this worker may not read")
	}
	r.Header.Del("Referer") // has the query, which may hold a signature
	return nil
}

func (w *web) allows(host string) bool { return slices.Contains(w.hosts, canonicalHost(host)) }

// openWeb copies what a server of an allowed host sends.
func (o *Opener) openWeb(ctx context.Context, loc location, ref Ref) (*File, error) {
	slow, p := watched(ctx, o.cfg.Stall)
	defer p.stop()
	res, err := o.web.do(slow, http.MethodGet, ref.URI, loc)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	size := res.ContentLength
	if size < 0 {
		size = ref.Size
	}
	if size <= 0 && res.ContentLength < 0 {
		return nil, fault("bad_reference", "give the reference its size, or have the server send Content-Length", "does not say how many bytes it has")
	}
	if err := o.checkSize(size, ref); err != nil {
		return nil, err
	}
	f, err := o.fetch(ctx, res.Body, size, ref, p)
	return f, webError(slow, err)
}

// webSize returns how large a file is, 0 if the server does not tell.
func (o *Opener) webSize(ctx context.Context, loc location, ref Ref) (int64, error) {
	slow, p := watched(ctx, o.cfg.Stall)
	defer p.stop()
	res, err := o.web.do(slow, http.MethodHead, ref.URI, loc)
	if err != nil {
		return 0, err
	}
	return max(res.ContentLength, 0), res.Body.Close()
}

func (w *web) do(ctx context.Context, method, uri string, loc location) (*http.Response, error) {
	if !w.allows(loc.bucket) {
		return nil, notAllowed("is not on a host that this worker may read")
	}
	r, err := http.NewRequestWithContext(ctx, method, uri, nil)
	if err != nil {
		return nil, fault("bad_reference", "", "is no url that can be asked for")
	}
	res, err := w.client.Do(r)
	if err == nil && ctx.Err() != nil { // given up: what comes now answers that
		res.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, webError(ctx, err)
	}
	switch {
	case res.StatusCode == http.StatusOK && res.Header.Get("Content-Encoding") == "":
		return res, nil
	case res.StatusCode == http.StatusOK:
		err = fault("bad_reference", "store it as it is", "is sent with Content-Encoding, which this worker does not ask for")
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		err = &Error{Code: "reference_missing", Message: "does not exist", Hint: "write the file before sending the event", Transient: true}
	default:
		err = unreadable("the server answers with status %d", res.StatusCode)
	}
	res.Body.Close()
	return nil, err
}

// webError says what an error of a request means to the sender, without the
// URL, in whose query may be a signature.
func webError(ctx context.Context, err error) error {
	var known *Error
	var timeout net.Error
	var in *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(context.Cause(ctx), errStalled), errors.As(err, &timeout) && timeout.Timeout():
		return unreadable("the server stopped sending it")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &in):
		return unreadable("the server cannot be reached: %s", in.Err)
	}
	for next := err; next != nil; next = errors.Unwrap(next) { // past *url.Error
		err = next
	}
	return unreadable("the server cannot be read: %s", err)
}
