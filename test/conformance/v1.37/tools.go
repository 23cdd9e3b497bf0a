//go:build tools

// Package conformance pins, with go.mod and go.sum, the programs that build.sh makes. Nothing here runs.
package conformance

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
