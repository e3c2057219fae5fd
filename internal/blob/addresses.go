package blob

import (
	"fmt"
	"net/netip"
)

// special are networks that are not the public internet, though the methods of
// netip.Addr do not all say so, from the IANA registries of special-purpose
// addresses; and one public address behind which Azure keeps the secrets of
// its machines.
var special = networks(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4", "168.63.129.16/32",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

// metadata are the addresses at which clouds hand credentials to whoever asks
// from one of their machines. No configuration allows them.
var metadata = networks("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32")

func networks(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func inNetworks(addr netip.Addr, all []netip.Prefix) bool {
	for _, n := range all {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// checkAddress refuses an address that is not of the public internet, nor in
// a network that is allowed besides.
func checkAddress(addr netip.Addr, allowed []netip.Prefix) error {
	addr = addr.Unmap()
	switch {
	case inNetworks(addr, metadata) || addr.Zone() != "":
	case inNetworks(addr, allowed):
		return nil
	case addr.IsGlobalUnicast() && !addr.IsPrivate() && !inNetworks(addr, special) && (addr.Is4() || globalIPv6.Contains(addr)):
		return nil
	}
	return fmt.Errorf("address %s is not allowed", addr)
}

// globalIPv6 is all that has been given out for the public internet. What
// translates to an IPv4 address (64:ff9b::/96, ::/96) lies outside.
var globalIPv6 = netip.MustParsePrefix("2000::/3")
