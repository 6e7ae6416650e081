// Named kernel implementations in priority order and the choice between them.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace voxtral_edge {

// Implementations compiled into this build, best first. Not all may run on this CPU.
std::vector<const Kernels*> compiled_kernels();

// Implementations this CPU can run, best first; "scalar" is always last.
std::vector<const Kernels*> available_kernels();

// The active implementation: VOXTRAL_EDGE_ISA if set, else the best available. Chosen once, at first use.
// Errors as kernels_by_name().
const Kernels& active_kernels();

// The named implementation. Naming the available ones, Error(usage) if this build has none of that name, and
// Error(device) if this CPU cannot run it.
const Kernels& kernels_by_name(const std::string& name);

}  // namespace voxtral_edge
