package control

import (
	"errors"
	"fmt"
	"syscall"
)

// Cured adds to an error what to do about it, where the limit of open files is
// to blame, which any call may run into. nil stays nil.
func Cured(err error) error {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return fmt.Errorf("%w: raise the limit of open files, as with ulimit -n 65536 (systemd: LimitNOFILE=65536; of the whole host: sysctl fs.file-max)", err)
	}
	return err
}
