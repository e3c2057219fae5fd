package blob

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// Addresses that an https:// reference must not reach, by what is there.
var refusedAddresses = strings.Fields(`
	127.0.0.1 127.0.0.53 127.1.2.3 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1
	192.168.255.255 169.254.0.1 169.254.169.254 169.254.170.2 169.254.255.255 100.64.0.1 100.100.100.200 100.127.255.255 168.63.129.16
	192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
	255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:192.168.1.1 ::ffff:0.0.0.0 ::ffff:0:127.0.0.1
	64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1
	2002:a9fe:a9fe::1 2002:808:808::1 3fff::1 4000::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254 fdff:ffff::1 fe80::1 fe80::1%eth0 feb0::1 fec0::1 ff02::1 ff05::2`)

func TestAddresses(t *testing.T) {
	if len(refusedAddresses) < 60 {
		t.Errorf("only %d addresses", len(refusedAddresses))
	}
	for _, s := range refusedAddresses {
		if err := checkAddress(netip.MustParseAddr(s), nil); err == nil {
			t.Errorf("%s is allowed", s)
		}
	}
	for _, s := range strings.Fields("1.1.1.1 8.8.8.8 52.216.0.1 172.32.0.1 100.128.0.1 ::ffff:8.8.8.8 2606:4700:4700::1111 2a00:1450:4001::200e") {
		if err := checkAddress(netip.MustParseAddr(s), nil); err != nil {
			t.Error(err)
		}
	}
	inside := networks("10.0.0.0/8", "127.0.0.0/8", "0.0.0.0/0", "::/0")
	for _, s := range strings.Fields("10.1.2.3 ::ffff:10.1.2.3 127.0.0.1 fd00::1") {
		if err := checkAddress(netip.MustParseAddr(s), inside); err != nil {
			t.Errorf("allowed network: %v", err)
		}
	}
	for _, s := range strings.Fields("169.254.169.254 ::ffff:169.254.169.254 fd00:ec2::254 168.63.129.16 100.100.100.200 fe80::1 fe80::1%eth0") {
		if err := checkAddress(netip.MustParseAddr(s), inside); err == nil {
			t.Errorf("%s is allowed with all networks", s)
		}
	}
}

// startWeb runs a server with what a hostile one may do, and returns an opener
// that may reach it.
func startWeb(t *testing.T, cfg Config, data []byte) (*Opener, *httptest.Server) {
	t.Helper()
	released := make(chan struct{})
	mux := http.NewServeMux()
	send := func(path string, handle http.HandlerFunc) { mux.HandleFunc("GET "+path, handle) }
	send("/emb.npz", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" || r.Header.Get("Authorization") != "" {
			http.Error(w, "unexpected header", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data)
	})
	send("/signed.npz", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "X-Amz-Signature=s%2Fe%3Dcret&a=b" {
			http.Error(w, r.URL.RawQuery, http.StatusForbidden)
			return
		}
		w.Write(data)
	})
	send("/unsized.npz", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		w.Write(data)
	})
	send("/endless.npz", func(w http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 1<<16); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	send("/large.npz", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", fmt.Sprint(1<<40)) })
	send("/short.npz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)+10))
		w.Write(data)
	})
	send("/long.npz", func(w http.ResponseWriter, r *http.Request) {
		c, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(buf, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", len(data)-10)
		buf.Write(data)
		buf.Flush()
	})
	send("/slow.npz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		for i := range data {
			select {
			case <-released:
				return
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
				w.Write(data[i : i+1])
				w.(http.Flusher).Flush()
			}
		}
	})
	send("/silent.npz", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
	send("/packed.npz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(data)
	})
	send("/headers.npz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
		w.Write(data)
	})
	send("/empty.npz", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "0") })
	send("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
	})
	send("/loop.npz", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop.npz", http.StatusFound) })
	send("/to.npz", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusTemporaryRedirect)
	})
	server := httptest.NewTLSServer(mux)
	server.Config.ErrorLog = nil
	t.Cleanup(func() { close(released); server.CloseClientConnections(); server.Close() })
	host := strings.TrimPrefix(server.URL, "https://")
	cfg.Hosts = append(cfg.Hosts, host)
	o, err := NewOpener(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	o.web.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	return o, server
}

func TestWeb(t *testing.T) {
	data, err := os.ReadFile("testdata/emb.npz")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	temp := t.TempDir()
	secret := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked for", r.URL)
		w.Write(data)
	}))
	defer secret.Close()
	o, server := startWeb(t, Config{MaxBytes: 1 << 20, TempDir: temp, Networks: networks("127.0.0.1/32"),
		Hosts: []string{"allowed.example", "10.1.2.3", "169.254.169.254"}}, data)
	at := server.URL
	to := func(url string) string { return at + "/to.npz?url=" + url }
	for _, c := range []struct {
		name       string
		ref        Ref
		code, says string
	}{
		{"good", Ref{URI: at + "/emb.npz"}, "", ""},
		{"with digest and size", Ref{URI: at + "/emb.npz", SHA256: digest, Size: int64(len(data))}, "", ""},
		{"host in capitals", Ref{URI: strings.Replace(at, "127.0.0.1", "127.0.0.1", 1) + "/emb.npz"}, "", ""},
		{"signed", Ref{URI: at + "/signed.npz?X-Amz-Signature=s%2Fe%3Dcret&a=b"}, "", ""},
		{"size from the reference", Ref{URI: at + "/unsized.npz", Size: int64(len(data)), SHA256: digest}, "", ""},
		{"redirect", Ref{URI: to("/emb.npz")}, "", ""},
		{"several", Ref{Files: list(at + "/emb.npz")}, "", ""},
		{"wrong digest", Ref{URI: at + "/emb.npz", SHA256: digest[1:] + "0"}, "digest_mismatch", "has SHA-256 " + digest},
		{"wrong size", Ref{URI: at + "/emb.npz", Size: 3}, "size_mismatch", fmt.Sprintf("has %d bytes, the reference says 3", len(data))},
		{"no size", Ref{URI: at + "/unsized.npz"}, "bad_reference", "does not say how many bytes"},
		{"longer than the reference says", Ref{URI: at + "/unsized.npz", Size: 10}, "size_mismatch", "has not the 10 bytes"},
		{"shorter than the reference says", Ref{URI: at + "/unsized.npz", Size: 1 << 19}, "size_mismatch", "has not the 524288 bytes"},
		{"endless", Ref{URI: at + "/endless.npz", Size: 1 << 19}, "size_mismatch", ""},
		{"endless without a size", Ref{URI: at + "/endless.npz"}, "bad_reference", ""},
		{"says it is huge", Ref{URI: at + "/large.npz"}, "reference_too_large", ""},
		{"shorter than it says", Ref{URI: at + "/short.npz"}, "reference_unreadable", "ended after"},
		{"longer than it says", Ref{URI: at + "/long.npz", SHA256: digest}, "digest_mismatch", ""},
		{"empty", Ref{URI: at + "/empty.npz"}, "empty_file", ""},
		{"content encoding", Ref{URI: at + "/packed.npz"}, "bad_reference", "Content-Encoding"},
		{"headers without end", Ref{URI: at + "/headers.npz"}, "reference_unreadable", ""},
		{"missing", Ref{URI: at + "/none.npz"}, "reference_missing", ""},
		{"gone", Ref{URI: at + "/status/410"}, "reference_missing", ""},
		{"forbidden", Ref{URI: at + "/status/403"}, "reference_unreadable", "status 403"},
		{"broken", Ref{URI: at + "/status/503"}, "reference_unreadable", "status 503"},
		{"partial", Ref{URI: at + "/status/206"}, "reference_unreadable", "status 206"},
		{"pickle", Ref{URI: at + "/model.pt"}, "pickle_refused", ""},
		{"host not on the list", Ref{URI: secret.URL + "/emb.npz"}, "reference_not_allowed", "not on a host"},
		{"port not on the list", Ref{URI: "https://127.0.0.1/emb.npz"}, "reference_not_allowed", "not on a host"},
		{"plain http", Ref{URI: "http" + strings.TrimPrefix(at, "https") + "/emb.npz"}, "unsupported_scheme", ""},
		{"user name", Ref{URI: strings.Replace(at, "https://", "https://u:secret@", 1) + "/emb.npz"}, "bad_reference", ""},
		{"fragment", Ref{URI: at + "/emb.npz#x"}, "bad_reference", ""},
		{"traversal", Ref{URI: at + "/a/../emb.npz"}, "bad_reference", ""},
		{"encoded traversal", Ref{URI: at + "/a/%2e%2e/emb.npz"}, "bad_reference", ""},
		{"number as host", Ref{URI: "https://2130706433/emb.npz"}, "bad_reference", "valid host"},
		{"hexadecimal host", Ref{URI: "https://0x7f000001/emb.npz"}, "bad_reference", "valid host"},
		{"short address", Ref{URI: "https://127.1/emb.npz"}, "bad_reference", "valid host"},
		{"octal address", Ref{URI: "https://0177.0.0.1/emb.npz"}, "bad_reference", "valid host"},
		{"host of nothing", Ref{URI: "https:///emb.npz"}, "bad_reference", "valid host"},
		{"port of nothing", Ref{URI: "https://127.0.0.1:/emb.npz"}, "bad_reference", "valid host"},
		{"host with a line", Ref{URI: "https://a%0d%0ab/emb.npz"}, "bad_reference", ""},
		{"private address on the list", Ref{URI: "https://10.1.2.3/emb.npz"}, "reference_not_allowed", "address 10.1.2.3 is not allowed"},
		{"metadata on the list", Ref{URI: "https://169.254.169.254/latest/x.npz"}, "reference_not_allowed", "address 169.254.169.254"},
		{"redirect without end", Ref{URI: at + "/loop.npz"}, "bad_reference", "redirected more than 5 times"},
		{"redirect to another host", Ref{URI: to(secret.URL + "/emb.npz")}, "reference_not_allowed", "is redirected to"},
		{"redirect to http", Ref{URI: to("http" + strings.TrimPrefix(at, "https") + "/emb.npz")}, "reference_not_allowed", "is redirected to"},
		{"redirect to a file", Ref{URI: to("file:///etc/passwd")}, "reference_not_allowed", "is redirected to"},
		{"redirect to metadata", Ref{URI: to("https://169.254.169.254/latest/x.npz")}, "reference_not_allowed", "address 169.254.169.254"},
		{"redirect to a private address", Ref{URI: to("https://10.1.2.3/x.npz")}, "reference_not_allowed", "address 10.1.2.3"},
		{"redirect with a user name", Ref{URI: to("https://u:secret@" + strings.TrimPrefix(at, "https://") + "/emb.npz")}, "reference_not_allowed", ""},
		{"signature in no message", Ref{URI: at + "/status/403?sig=secret"}, "reference_unreadable", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readAllOf(t, o, c.ref)
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("%d temporary files are left", len(left))
			}
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCode(t, err, c.code)
			if err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%v, want it to say %q and no secret", err, c.says)
			}
		})
	}
	if size, err := o.GuessMemory(t.Context(), Ref{URI: at + "/emb.npz"}); err != nil || size < 1<<20 {
		t.Errorf("guess %d, %v", size, err)
	}
}

// Without a list of hosts, and with a name that means an address inside,
// nothing is connected to.
func TestWebIsOffAndGuarded(t *testing.T) {
	asked := make(chan struct{}, 9)
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	local := "localhost:" + u.Port() // in every hosts file: a name that resolves to 127.0.0.1
	for name, cfg := range map[string]Config{"off": {}, "address inside": {Hosts: []string{local}}} {
		o, err := NewOpener(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = o.Open(t.Context(), Ref{URI: "https://" + local + "/emb.npz", Size: 1})
		wantCode(t, err, "reference_not_allowed")
		if _, err := o.GuessMemory(t.Context(), Ref{URI: "https://" + local + "/emb.npz"}); err == nil {
			t.Errorf("%s: a guess by asking", name)
		}
		o.Close()
	}
	if len(asked) > 0 {
		t.Error("the server was asked")
	}
	for _, host := range []string{"", "a b", "https://a", "a/b", "*.example.com", "a:0", "a:b", "[::1", "u@a"} {
		if o, err := NewOpener(Config{Hosts: []string{host}}); err == nil {
			o.Close()
			t.Errorf("host %q is allowed", host)
		}
	}
}

// A server that hardly sends anything is given up.
func TestWebIsSlow(t *testing.T) {
	o, server := startWeb(t, Config{Networks: networks("127.0.0.1/32"), TempDir: t.TempDir()}, bytes.Repeat([]byte("x"), 1<<20))
	o.cfg.Stall = 100 * time.Millisecond
	for _, path := range []string{"/slow.npz", "/silent.npz"} {
		_, err := o.Open(t.Context(), Ref{URI: server.URL + path})
		wantCode(t, err, "reference_unreadable")
		if e, ok := err.(*Error); ok && (!e.Transient || !strings.Contains(e.Message, "stopped sending")) {
			t.Errorf("%s: %v, transient %v", path, err, e.Transient)
		}
	}
}
