package spec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a VLAN's number; 0 and 4095 are reserved (802.1Q-2018 table 9-2).
const (
	VLANMin = 1
	VLANMax = 4094
)

// ParseVLAN reads the number of a VLAN.
func ParseVLAN(s string) (int, error) {
	v, err := parseNumber("vlan", s, VLANMin, VLANMax)
	return int(v), err
}

// CheckVLAN reports a number that no VLAN has.
func CheckVLAN(vlan int) error { return checkNumber("vlan", int64(vlan), VLANMin, VLANMax) }

// Trunk is a list of VLANs, as in 10,20-30, in rising order and as short as it can
// be; empty: none. Others than ParseTrunk makes are invalid.
type Trunk string

// ParseTrunk reads a list of VLANs, each of which may stand once.
func ParseTrunk(s string) (Trunk, error) {
	if s == "" {
		return "", errors.New("trunk names no VLAN: want a list, as in 10,20-30")
	}
	var vids []uint16
	seen := map[int]bool{}
	for _, item := range strings.Split(s, ",") {
		from, to, err := parseVLANs(item)
		if err != nil {
			return "", fmt.Errorf("trunk %q: %w", s, err)
		}
		for vid := from; vid <= to; vid++ {
			if seen[vid] {
				return "", fmt.Errorf("trunk %q: VLAN %d stands in it twice", s, vid)
			}
			seen[vid] = true
			vids = append(vids, uint16(vid))
		}
	}
	return trunkOf(vids), nil
}

// parseVLANs reads N or A-B.
func parseVLANs(item string) (from, to int, err error) {
	first, last, isRange := strings.Cut(item, "-")
	if from, err = ParseVLAN(first); err != nil || !isRange {
		return from, from, err
	}
	if to, err = ParseVLAN(last); err == nil && to < from {
		err = fmt.Errorf("range %s runs backwards; maybe you meant %d-%d", item, to, from)
	}
	return from, to, err
}

// trunkOf writes VLANs as a list.
func trunkOf(vids []uint16) Trunk {
	slices.Sort(vids)
	var items []string
	for i := 0; i < len(vids); {
		j := i
		for j+1 < len(vids) && vids[j+1] == vids[j]+1 {
			j++
		}
		item := strconv.Itoa(int(vids[i]))
		if j > i {
			item += "-" + strconv.Itoa(int(vids[j]))
		}
		items = append(items, item)
		i = j + 1
	}
	return Trunk(strings.Join(items, ","))
}

// VLANs returns the VLANs of the list.
func (t Trunk) VLANs() (vids []uint16) {
	if t == "" {
		return nil
	}
	for _, item := range strings.Split(string(t), ",") {
		from, to, err := parseVLANs(item)
		if err != nil { // not of ParseTrunk
			return nil
		}
		for vid := from; vid <= to; vid++ {
			vids = append(vids, uint16(vid))
		}
	}
	return vids
}

// validateVLANs checks the VLANs of a port, and writes the list as short as it can be.
func (a *Attach) validateVLANs() (err error) {
	if a.VLAN != 0 {
		if err := CheckVLAN(a.VLAN); err != nil {
			return err
		}
	}
	if a.Trunk == "" {
		return nil
	}
	if a.Trunk, err = ParseTrunk(string(a.Trunk)); err != nil {
		return err
	}
	if a.VLAN != 0 && slices.Contains(a.Trunk.VLANs(), uint16(a.VLAN)) {
		return fmt.Errorf("vlan %d stands in trunk %s too: --vlan names the one that the container has untagged, the trunk those that it has tagged", a.VLAN, a.Trunk)
	}
	return nil
}
