// Package install holds what `make install` and `make deb` put beside the
// program: the systemd unit, the configuration file to start from, and the parts
// of the Debian package. Its tests make the package, install it below a scratch
// root, and run the unit's command with the unit's capabilities.
package install
