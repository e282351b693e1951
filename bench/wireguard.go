package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"weft/internal/lab"
)

const (
	wireguardPort = 51820
	wireguardMTU  = 1420 // what wg-quick(8) takes on an underlay of 1500
)

// wireguardGo is the userspace WireGuard between hosts that route: like weft it
// reads a TUN with offloads and sends many segments by one call; beyond that it
// encrypts, which costs most of its time.
func wireguardGo() system {
	return system{
		id: "wireguard", name: "wireguard-go (encrypts)", group: twoHosts, needs: nothing,
		setUp: func(ctx context.Context, b *bed) (from, to container, err error) {
			h, c, err := hosts(b)
			if err != nil {
				return from, to, err
			}
			var keys [2]*ecdh.PrivateKey
			for i := range keys {
				if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
					return from, to, err
				}
			}
			for i, remote := range []netip.Prefix{host2, host1} {
				if err := routedContainer(b, h[i], c[i], i); err != nil {
					return from, to, err
				}
				// https://www.wireguard.com/xplatform/, configuration protocol
				config := fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%s\nallowed_ip=0.0.0.0/0\n",
					hex.EncodeToString(keys[i].Bytes()), wireguardPort, hex.EncodeToString(keys[1-i].PublicKey().Bytes()),
					netip.AddrPortFrom(remote.Addr(), wireguardPort))
				if err := startChild(ctx, b, h[i], config, "child-wireguard", "wg0"); err != nil {
					return from, to, err
				}
				if err := wireguardRoute(h[i], routed(1-i).Masked()); err != nil {
					return from, to, err
				}
			}
			return containers(c, routed1, routed2)
		},
	}
}

// wireguardRoute brings wg0 up and leads the other host's containers there.
func wireguardRoute(host *lab.NS, dst netip.Prefix) error {
	if err := host.SetLink("wg0", true); err != nil {
		return fmt.Errorf("set wg0 up: %w", err)
	}
	return addRoute(host, dst, netip.Addr{}, "wg0")
}

// wireguardDevice runs wireguard-go as a device of the given name, configured
// from in.
func wireguardDevice(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("want a name")
	}
	t, err := tun.CreateTUN(args[0], wireguardMTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	defer d.Close()
	if err := d.IpcSetOperation(in); err != nil {
		return err
	}
	if err := d.Up(); err != nil {
		return err
	}
	fmt.Fprintln(out, childReady)
	<-d.Wait()
	return net.ErrClosed
}
