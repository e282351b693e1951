package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A setter takes one property of an object as text: an item of an option list
// and a field of the YAML file both end here, so that they mean the same.
// An unknown key is a *keyError.
type setter func(key, value string) error

// keyError says that an object has no such property.
type keyError struct {
	key   string
	known []string
}

func (e *keyError) Error() string {
	return fmt.Sprintf("option %q is not known; the options are %s", e.key, strings.Join(e.known, ", "))
}

// once guards against keys that stand twice.
type once map[string]bool

// take notes key and reports an error where it was noted before, unless it is
// one of those that may repeat.
func (o once) take(key string, mayRepeat ...string) error {
	if o[key] && !slices.Contains(mayRepeat, key) {
		return fmt.Errorf("option %q is given twice", key)
	}
	o[key] = true
	return nil
}

// parseNumber reads a decimal number from min to max.
func parseNumber(key, value string, min, max int64) (int64, error) {
	v, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a number from %d to %d", key, value, min, max)
	}
	return v, checkNumber(key, v, min, max)
}

// checkNumber reports a number that is not in min to max.
func checkNumber(key string, v, min, max int64) error {
	if v < min || v > max {
		return fmt.Errorf("%s %d is out of range; it goes from %d to %d", key, v, min, max)
	}
	return nil
}
