// Package origin distinguishes the page's own requests from those of other pages.
package origin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Names are the host names under which the page is served, without ports, in
// lower case. The loopback names and the address that a connection came to need
// not be named: no other site can make a browser believe that it is one of them.
type Names []string

// OwnHost reports whether a request was sent to one of the names. A page of
// another site that has its own name resolved to this machine (DNS rebinding)
// sends that name.
func (n Names) OwnHost(r *http.Request) bool { return n.has(r, r.Host) }

// OwnOrigin reports whether a request comes from a page under one of the names, on
// any port. Programs say of no page: they are let through.
func (n Names) OwnOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && (u.Scheme == "http" || u.Scheme == "https") && n.has(r, u.Host)
}

// has reports whether host, with or without a port, is one of the names.
func (n Names) has(r *http.Request, host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || slices.Contains(n, host) {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return ip.IsLoopback() || ip == localAddress(r)
}

// localAddress is where the request's connection arrived, invalid if not known.
func localAddress(r *http.Request) netip.Addr {
	tcp, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
