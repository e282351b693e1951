package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"weft/internal/control"
)

// DefaultHost is where the engine listens when DOCKER_HOST is not set.
const DefaultHost = client.DefaultDockerHost

// Engine is the Docker engine of this host. It is a control.Docker; each call
// makes a connection of its own, so that an engine that was replaced by a newer
// one is spoken to anew.
type Engine struct {
	host string // unix://PATH
}

// NewEngine returns the engine that DOCKER_HOST names, DefaultHost where that is
// not set. Nothing is asked yet.
func NewEngine() *Engine { return &Engine{cmp.Or(os.Getenv(client.EnvOverrideHost), DefaultHost)} }

// connect returns a client, which the caller closes. The engine has to be on this
// host: a process id of another means nothing here.
func (e *Engine) connect() (*client.Client, error) {
	if !strings.HasPrefix(e.host, "unix://") {
		return nil, fmt.Errorf("ask Docker at %s: its containers are not on this host: set DOCKER_HOST to unix://PATH, or leave it unset", e.host)
	}
	c, err := client.New(client.WithHost(e.host))
	if err != nil {
		return nil, fmt.Errorf("ask Docker at %s: %w", e.host, err)
	}
	return c, nil
}

// failed says what went wrong with a question. ctx is that of the question.
func (e *Engine) failed(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("ask Docker at %s: no answer in time: is dockerd well?", e.host)
	case client.IsErrConnectionFailed(err):
		return fmt.Errorf("ask Docker at %s: nobody answers: is dockerd running? DOCKER_HOST names another socket; a namespace without Docker is netns:NAME or pid:N", e.host)
	}
	return fmt.Errorf("ask Docker at %s: %w", e.host, err)
}

// maxShared is how many containers may stand between one that uses the network of
// another and the one that has it.
const maxShared = 8

// Find implements control.Docker.
func (e *Engine) Find(ctx context.Context, ref string) (control.Container, error) {
	c, err := e.connect()
	if err != nil {
		return control.Container{}, err
	}
	defer c.Close()
	for range maxShared {
		got, err := c.ContainerInspect(ctx, ref, client.ContainerInspectOptions{})
		switch {
		case errdefs.IsNotFound(err):
			return control.Container{}, fmt.Errorf("container %s: %w", ref, control.ErrNoContainer)
		case err != nil:
			return control.Container{}, e.failed(ctx, err)
		}
		if other := networkOf(got.Container); other != "" {
			ref = other
			continue
		}
		return containerOf(got.Container), nil
	}
	return control.Container{}, fmt.Errorf("ask Docker for container %s: too many containers use each other's network", ref)
}

// networkOf returns the container whose network in uses, as docker run --network
// container:NAME asks; empty where it has its own.
func networkOf(in container.InspectResponse) string {
	if in.HostConfig == nil || !in.HostConfig.NetworkMode.IsContainer() {
		return ""
	}
	return in.HostConfig.NetworkMode.ConnectedContainer()
}

func containerOf(in container.InspectResponse) control.Container {
	c := control.Container{ID: in.ID, Name: strings.TrimPrefix(in.Name, "/")}
	if in.State != nil {
		c.State, c.PID = string(in.State.Status), in.State.Pid
	}
	return c
}

// followed are the events after which a container may be elsewhere, or have
// another name.
var followed = []events.Action{events.ActionStart, events.ActionDie, events.ActionRename, events.ActionDestroy}

// Watch implements control.Docker.
func (e *Engine) Watch(ctx context.Context, connected func(), changed func(id, name string)) error {
	c, err := e.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	filters := client.Filters{}.Add("type", string(events.ContainerEventType))
	for _, action := range followed {
		filters = filters.Add("event", string(action))
	}
	stream := c.Events(ctx, client.EventsListOptions{Filters: filters}) // returns when the engine has taken the request
	select {
	case err := <-stream.Err:
		return e.failed(ctx, err)
	default:
	}
	connected()
	for {
		select {
		case m := <-stream.Messages:
			changed(m.Actor.ID, m.Actor.Attributes["name"])
		case err := <-stream.Err:
			return e.failed(ctx, err)
		}
	}
}
