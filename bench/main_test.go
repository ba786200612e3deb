package main

import (
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }
