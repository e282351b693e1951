package control

import (
	"slices"
	"testing"
)

func endpointAt(t testing.TB, network, targetText string) *endpoint {
	t.Helper()
	tgt, err := parseTarget(targetText)
	if err != nil {
		t.Fatal(err)
	}
	return &endpoint{endpointRecord: endpointRecord{Network: network, Target: tgt.text}, target: tgt}
}

func TestPortNames(t *testing.T) {
	tests := []struct {
		name string
		eps  [][2]string // network, target
		want []string
	}{
		{"plain", [][2]string{{"blue", "netns:web"}, {"blue", "pid:12"}, {"blue", "netns:/x/y/z"}}, []string{"web", "pid-12", "z"}},
		{"two networks", [][2]string{{"blue", "netns:web"}, {"red", "netns:web"}, {"red", "netns:db"}}, []string{"web@blue", "web@red", "db"}},
		{"process and namespace", [][2]string{{"blue", "pid:12"}, {"red", "netns:pid-12"}}, []string{"pid-12@blue", "pid-12@red"}},
		{"one network twice", [][2]string{{"blue", "netns:/a/net"}, {"blue", "netns:/b/net"}}, []string{"net-5a45c4@blue", "net-2fab69@blue"}},
		{"and another", [][2]string{{"blue", "netns:/a/net"}, {"blue", "netns:/b/net"}, {"red", "netns:net"}}, []string{"net-5a45c4@blue", "net-2fab69@blue", "net@red"}},
		{"reserved word", [][2]string{{"blue", "netns:switch"}}, []string{"switch@blue"}},
		{"odd characters", [][2]string{{"blue", "netns:peer:x@y z"}}, []string{"peer-x-y-z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var eps []*endpoint
			for _, e := range tt.eps {
				eps = append(eps, endpointAt(t, e[0], e[1]))
			}
			names := portNames(eps)
			var got []string
			for _, ep := range eps {
				got = append(got, names[ep])
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
