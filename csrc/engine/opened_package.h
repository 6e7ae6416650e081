// A package on disk together with its tokenizer: what every engine and every stream begins with.
#pragma once

#include <memory>
#include <string>

#include "package/package.h"
#include "text/tekken.h"
#include "text/text_encoder.h"

namespace voxtral_edge {

struct OpenedPackage {
  std::shared_ptr<const Package> package;
  std::shared_ptr<const Tekken> tokenizer;
  std::shared_ptr<const TextEncoder> encoder;
};

// Error(model_format) if the folder is no package, or manifest.json and tekken.json disagree about special tokens.
OpenedPackage open_package(const std::string& directory);

}  // namespace voxtral_edge
