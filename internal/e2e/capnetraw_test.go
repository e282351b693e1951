package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// rawSenderEnv makes the test program the process of a container: see rawSender.
const rawSenderEnv = "WEFT_TEST_RAW_SENDER"

// rawSender is the one process of a container, in namespaces of its own, of
// which the lab's is the network's, with nobody's uid and CAP_NET_RAW alone.
type rawSender struct {
	t  *testing.T
	to io.WriteCloser
	in *bufio.Reader
}

func newRawSender(t *testing.T, n *lab.NS, ifname string) *rawSender {
	t.Helper()
	// Not by its path: the directories above are not nobody's.
	cmd := n.Command(t.Context(), "/proc/self/exe")
	cmd.Env = []string{rawSenderEnv + "=" + ifname}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Credential:  newNobody(),
		AmbientCaps: []uintptr{unix.CAP_NET_RAW},
	}
	s := &rawSender{t: t}
	var err error
	if s.to, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	p, err := n.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.to.Close(); p.Kill() })
	s.in = bufio.NewReader(out)
	if got, want := s.line(), fmt.Sprintf("uid 65534 caps %016x", uint64(1)<<unix.CAP_NET_RAW); got != want {
		t.Fatalf("the container's process says %q, want %q", got, want)
	}
	return s
}

func newNobody() *syscall.Credential { return &syscall.Credential{Uid: 65534, Gid: 65534} }

func (s *rawSender) line() string {
	s.t.Helper()
	text, err := s.in.ReadString('\n')
	if err != nil {
		s.t.Fatalf("read from the container's process: %v", err)
	}
	return strings.TrimSpace(text)
}

// send sends a frame behind a virtio header (packet(7), PACKET_VNET_HDR). It
// returns what the container's kernel says against it; empty: nothing.
func (s *rawSender) send(virtio [10]byte, f []byte) string {
	s.t.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(len(virtio)+len(f)))
	if _, err := s.to.Write(append(append(b, virtio[:]...), f...)); err != nil {
		s.t.Fatalf("write to the container's process: %v", err)
	}
	if text := s.line(); text != "sent" {
		return text
	}
	return ""
}

// beRawSender is the process: it says what it is, then sends what it reads.
func beRawSender(ifname string) error {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	_, caps, _ := strings.Cut(string(status), "CapEff:\t")
	fmt.Printf("uid %d caps %s\n", os.Getuid(), strings.Fields(caps)[0])
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	in := bufio.NewReader(os.Stdin)
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return nil // the test is over
		}
		b := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		if _, err := unix.Write(fd, b); err != nil {
			fmt.Println("refused:", err)
		} else {
			fmt.Println("sent")
		}
	}
}
