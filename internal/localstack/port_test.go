package localstack

import (
	"net"
	"testing"
)

func TestStoppedServerKeepsItsPort(t *testing.T) {
	t.Parallel()
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	if other, err := reserve(p.number); err == nil {
		t.Errorf("port %d was reserved twice", p.number)
		_ = other.release()
	}
	server, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", local(p.number))
	if err != nil {
		t.Fatalf("the owner can't listen on it: %v", err)
	}
	if err := p.release(); err != nil {
		t.Error(err)
	}
	if other, err := reserve(p.number); err == nil {
		t.Errorf("port %d was reserved while a server listens on it", p.number)
		_ = other.release()
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	again, err := reserve(p.number)
	if err != nil {
		t.Fatalf("a port that was released: %v", err)
	}
	if err := again.release(); err != nil {
		t.Error(err)
	}
}
