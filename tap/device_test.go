package tap

import (
	"bytes"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/offload"
)

const neighbourMAC header.MAC = 0x0200_0000_0002

// withNeighbour creates eth1 as 10.1.1.2 with a permanent entry for 10.1.1.9,
// so that a packet to it comes without ARP before it.
func (c container) withNeighbour() *Device {
	c.t.Helper()
	d := c.create(testConfig("10.1.1.2/24"))
	c.do(func() error {
		return netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: c.link("eth1").Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: net.IPv4(10, 1, 1, 9), HardwareAddr: neighbourMAC.HardwareAddr(),
		})
	})
	return d
}

// readIPv4 returns the next IPv4 frame, others skipped, and its virtio header.
func readIPv4(t *testing.T, d *Device) (offload.Header, []byte) {
	t.Helper()
	buf := make([]byte, offload.HeaderLen+offload.MaxFrame)
	for {
		n, err := d.Read(buf)
		if err == unix.EAGAIN {
			if _, ok := pollFor(t, d, unix.POLLIN, 15*time.Second); !ok {
				t.Fatal("no frame came")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		eth, ok := header.ParseEthernet(buf[offload.HeaderLen:n])
		if !ok {
			t.Fatalf("read %d bytes, less than headers", n)
		}
		if eth.Type() == unix.ETH_P_IP {
			return offload.ParseHeader(buf), bytes.Clone(eth)
		}
	}
}

// A container leaves the checksum of its SYN to us: the virtio header is in
// effect, its offsets point to TCP's checksum.
func TestVirtioHeaderInEffect(t *testing.T) {
	c := newContainer(t)
	d := c.withNeighbour()
	var sock int
	c.do(func() (err error) {
		sock, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(sock, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 1, 1, 9}}); err != unix.EINPROGRESS {
			return err
		}
		return nil
	})
	defer unix.Close(sock)

	h, frame := readIPv4(t, d)
	eth := header.Ethernet(frame)
	if eth.Src() != testMAC || eth.Dst() != neighbourMAC {
		t.Errorf("MACs = %v to %v, want %v to %v", eth.Src(), eth.Dst(), testMAC, neighbourMAC)
	}
	want := offload.Header{Flags: offload.FlagNeedsCsum, CsumStart: 14 + 20, CsumOffset: 16}
	if h != want {
		t.Errorf("virtio header = %+v, want %+v", h, want)
	}
}

// A frame that we write is received inside; MTU and link state are as documented.
func TestWriteReachesContainer(t *testing.T) {
	c := newContainer(t)
	d := c.withNeighbour()
	var sock int
	c.do(func() (err error) {
		sock, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Bind(sock, &unix.SockaddrInet4{Port: 7777})
	})
	defer unix.Close(sock)

	frame := udpFrame([]byte("hello"))
	if err := d.Write(frame); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _, err := unix.Recvfrom(sock, buf, unix.MSG_DONTWAIT) // delivered before Write returned
	if err != nil || string(buf[:n]) != "hello" {
		t.Errorf("received %q, %v, want hello", buf[:n], err)
	}

	if err := d.Write(frame[:offload.HeaderLen+13]); err != unix.EINVAL {
		t.Errorf("write of 13 bytes = %v, want EINVAL", err)
	}
	if err := d.Write(nil); err != unix.EINVAL {
		t.Errorf("write of nothing = %v, want EINVAL", err)
	}
	link := c.link("eth1")
	c.do(func() error { return netlink.LinkSetDown(link) })
	if err := d.Write(frame); err != unix.EIO {
		t.Errorf("write to a link that is down = %v, want EIO", err)
	}
	c.do(func() error { return netlink.LinkSetUp(link) })
	if err := d.Write(frame); err != nil {
		t.Errorf("write after the link is up again: %v", err)
	}
}

// A frame in parts is received as one.
func TestWriteVReachesContainer(t *testing.T) {
	c := newContainer(t)
	d := c.withNeighbour()
	var sock int
	c.do(func() (err error) {
		sock, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Bind(sock, &unix.SockaddrInet4{Port: 7777})
	})
	defer unix.Close(sock)

	frame := udpFrame([]byte("hello in parts"))
	end := len(frame)
	if err := d.WriteV(vector(frame[:end-9], frame[end-9:end-3], frame[end-3:])); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _, err := unix.Recvfrom(sock, buf, unix.MSG_DONTWAIT) // delivered before WriteV returned
	if err != nil || string(buf[:n]) != "hello in parts" {
		t.Errorf("received %q, %v, want hello in parts", buf[:n], err)
	}
	if err := d.WriteV(vector(frame[:12], frame[12:offload.HeaderLen+13])); err != unix.EINVAL {
		t.Errorf("write of 13 bytes = %v, want EINVAL", err)
	}
	if err := d.WriteV(nil); err != unix.EINVAL {
		t.Errorf("write of nothing = %v, want EINVAL", err)
	}
	link := c.link("eth1")
	c.do(func() error { return netlink.LinkSetDown(link) })
	if err := d.WriteV(vector(frame)); err != unix.EIO {
		t.Errorf("write to a link that is down = %v, want EIO", err)
	}
}

// vector points to parts, none of them empty.
func vector(parts ...[]byte) (iov []syscall.Iovec) {
	for _, p := range parts {
		v := syscall.Iovec{Base: &p[0]}
		v.SetLen(len(p))
		iov = append(iov, v)
	}
	return iov
}

// udpFrame is from 10.1.1.9 to 10.1.1.2 port 7777, without a UDP checksum,
// behind a zero virtio header.
func udpFrame(payload []byte) []byte {
	b := make([]byte, offload.HeaderLen)
	b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0)
	ip := []byte{0x45, 0, 0, byte(28 + len(payload)), 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 1, 9, 10, 1, 1, 2}
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	sum = ^(sum&0xffff + sum>>16)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	b = append(b, ip...)
	b = append(b, 0x30, 0x39, 7777>>8, 7777&0xff, 0, byte(8+len(payload)), 0, 0)
	return append(b, payload...)
}

// A Device that was created notices the container's end, and did not delay it.
func TestNamespaceDeleted(t *testing.T) {
	c := newContainer(t)
	d := c.create(testConfig("10.1.1.2/24"))
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, d)
}

func TestTAPDeleted(t *testing.T) {
	c := newContainer(t)
	d := c.create(testConfig("10.1.1.2/24"))
	link := c.link("eth1")
	c.do(func() error { return netlink.LinkDel(link) })
	wantGone(t, d)
	if err := d.Remove(); err != nil {
		t.Errorf("Remove of a TAP that is gone: %v", err)
	}
}

// wantGone waits for POLLERR and verifies what Read and Write say then.
func wantGone(t *testing.T, d *Device) {
	t.Helper()
	if got, ok := pollFor(t, d, 0, 15*time.Second); !ok || got&unix.POLLERR == 0 {
		t.Fatalf("poll = %#x, %t, want POLLERR", got, ok)
	}
	_, err := d.Read(make([]byte, 100))
	for range 1000 { // POLLERR is there a moment before the kernel detaches the queue
		if err == unix.EBADFD {
			break
		}
		time.Sleep(10 * time.Millisecond)
		_, err = d.Read(make([]byte, 100))
	}
	if err != unix.EBADFD {
		t.Errorf("Read = %v, want EBADFD", err)
	}
	if err := d.Write(make([]byte, 100)); err != unix.EBADFD {
		t.Errorf("Write = %v, want EBADFD", err)
	}
	if err := d.WriteV(vector(make([]byte, 50), make([]byte, 50))); err != unix.EBADFD {
		t.Errorf("WriteV = %v, want EBADFD", err)
	}
	if _, err := d.IfName(); !isGone(err) {
		t.Errorf("IfName: %v, want EBADFD", err)
	}
}

// A Device that was reopened keeps the namespace until it is closed.
func TestReopenedPinsUntilClose(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	c.create(testConfig("10.1.1.2/24")).Close()
	d := c.reopen(testConfig("10.1.1.2/24"))
	canary := c.create(Config{IfName: "eth2", MAC: 0x0200_0000_0009, MTU: 1450}) // notices when the namespace goes
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if ns.Alive() {
		t.Error("Alive() = true after the path was removed")
	}
	if got, ok := pollFor(t, canary, 0, 300*time.Millisecond); ok {
		t.Fatalf("poll = %#x: the namespace went though a descriptor pins it", got)
	}
	if err := d.Write(udpFrame(nil)); err != nil {
		t.Errorf("Write into the pinned namespace: %v", err)
	}
	d.Close()
	wantGone(t, canary)
}

func TestRemoveWhateverItsName(t *testing.T) {
	c := newContainer(t)
	d := c.create(testConfig("10.1.1.2/24"))
	link := c.link("eth1")
	c.do(func() error { return netlink.LinkSetName(link, "renamed") })
	if name, err := d.IfName(); name != "renamed" || err != nil {
		t.Errorf("IfName() = %q, %v, want renamed", name, err)
	}
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if got := c.link("renamed"); got != nil {
		t.Errorf("%v is still there", got)
	}
	if d.FD() != -1 {
		t.Errorf("FD() = %d after Remove, want -1", d.FD())
	}
}

func TestCloseTwice(t *testing.T) {
	d, other := socketPair(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// The number now belongs to another file, which a second Close must leave alone.
	reused, err := unix.Dup(other)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reused)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(reused), unix.F_GETFD, 0); err != nil {
		t.Errorf("second Close closed a descriptor that was not its own: %v", err)
	}
	if _, err := d.Read(make([]byte, 10)); err != unix.EBADF {
		t.Errorf("Read after Close = %v, want EBADF", err)
	}
}

// socketPair returns a Device over a socket, and the socket's other end.
func socketPair(t testing.TB) (*Device, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := FromSocket(fds[0])
	t.Cleanup(func() {
		d.Close()
		unix.Close(fds[1])
	})
	return d, fds[1]
}

func TestReadWriteNoAllocs(t *testing.T) {
	d, other := socketPair(t)
	echo := make([]byte, 2000)
	buf := make([]byte, offload.HeaderLen+offload.MaxFrame)
	frame := udpFrame([]byte("x"))
	iov := vector(frame[:20], frame[20:])
	allocs := testing.AllocsPerRun(1000, func() {
		if err := d.Write(frame); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(other, echo); n != len(frame) || err != nil {
			t.Fatalf("Write sent %d bytes, %v, want %d", n, err, len(frame))
		}
		if err := d.WriteV(iov); err != nil {
			t.Fatal(err)
		}
		n, err := unix.Read(other, echo)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(other, echo[:n]); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Read(buf); n != len(frame) || err != nil {
			t.Fatalf("Read = %d, %v, want %d", n, err, len(frame))
		}
		if _, err := d.Read(buf); err != unix.EAGAIN {
			t.Fatalf("Read = %v, want EAGAIN", err)
		}
	})
	if allocs != 0 {
		t.Errorf("allocations per round = %v, want 0", allocs)
	}
}
