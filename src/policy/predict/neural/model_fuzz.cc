// No file makes the decoder crash or take more than a model's bound of memory, and every model that it accepts encodes
// to the file that it came from, runs, and answers with probabilities. The input is taken as it is; as a file whose
// length and checksum are mended; and as changes to a small good model, mended again.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "policy/predict/neural/model_format.h"
#include "policy/predict/neural/model_testing.h"
#include "policy/predict/neural/neural_predictor.h"

namespace foreshard::policy {
namespace {

void mend(std::vector<std::byte>& bytes) {
  if (bytes.size() < sizeof(ModelHeader)) return;
  auto header = load_object<ModelHeader>(bytes);
  header.magic = kModelMagic;
  header.file_bytes = bytes.size();
  header.checksum = 0;
  header.checksum = crc32c(ConstByteSpan(bytes).subspan(sizeof(header)), crc32c(object_bytes(header)));
  std::memcpy(bytes.data(), &header, sizeof(header));
}

void run(Model model) {
  const ModelKind kind = model.shape.kind;
  NeuralPredictor predictor(kind, std::make_shared<RunnableModel>(std::move(model)), {});
  std::vector<Candidate> candidates;
  for (uint64_t i = 0; i < 8; ++i) {
    Observation observation;
    observation.first_page = (i % 3) << (i * 5);
    observation.pages = observation.missed_pages = static_cast<uint32_t>(1 + i % 5);
    predictor.observe(observation, candidates);
  }
  for (const Candidate& candidate : candidates) {
    if (!(candidate.confidence >= 0 && candidate.confidence <= 1) || candidate.pages == 0) std::abort();
  }
}

void decode(const std::vector<std::byte>& bytes) {
  Result<Model> model = decode_model(bytes);
  if (!model) return;
  if (encode_model(*model) != bytes) std::abort();
  run(std::move(*model));
}

const std::vector<std::byte>& good_file(bool transformer) {
  static const auto make = [](ModelKind kind) {
    ModelShape shape;
    shape.kind = kind;
    shape.symbols = kind == ModelKind::kLstm ? SymbolKind::kDelta : SymbolKind::kFile;
    shape.vocabulary = 3;
    shape.regions = shape.pages = shape.workloads = shape.labels = 1;
    shape.width = shape.hidden = 2;
    shape.history_entries = 2;
    return encode_model(random_model(shape, 1));
  };
  static const std::array<std::vector<std::byte>, 2> all = {make(ModelKind::kLstm), make(ModelKind::kTransformer)};
  return all[transformer ? 1 : 0];
}

}  // namespace
}  // namespace foreshard::policy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace foreshard;
  using namespace foreshard::policy;
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  decode(bytes);
  mend(bytes);
  decode(bytes);
  if (size == 0) return 0;
  // Three bytes a change: where (two) and what.
  std::vector<std::byte> changed = good_file(data[0] % 2 == 1);
  for (size_t at = 1; at + 3 <= size; at += 3) {
    changed[(data[at] | data[at + 1] << 8) % changed.size()] = std::byte{data[at + 2]};
  }
  mend(changed);
  decode(changed);
  return 0;
}
