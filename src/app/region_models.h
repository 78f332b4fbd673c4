// RegionModels: trained models kept in the region's metadata, so that drivers on any host find them and they survive
// restarts. A model's file is cut into parts; its record is written behind them, in a transaction that compares them,
// so that a record tells that all of it is there. The newest three of a kind stay; of a model that was never whole
// nothing is seen, and what is left of it goes when later ones come.
//
// What comes out is checked against the record's size and checksum; whether it is a model its reader has to see
// (policy::decode_model). Owner: a command, or a driver; one executor; runtime and metadata outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "meta/meta.h"
#include "meta/records.pb.h"
#include "policy/predict/neural/model.h"
#include "runtime/io.h"

namespace foreshard::app {

// What a model predicts, as records and cards say it: "deltas" or "files".
const char* symbols_name(policy::SymbolKind symbols);
// Whether a driver can use it: an LSTM over a volume's requests. Otherwise kInvalid, saying why.
Result<void> check_for_volumes(const policy::Model& model);

class RegionModels {
 public:
  static constexpr uint32_t kKept = 3;  // of a kind and origin

  struct Listed {
    meta::pb::Model model;
    meta::Revision created = 0;  // grows from model to model, also where a number is used again
  };

  RegionModels(runtime::Runtime& runtime, meta::Meta& meta) : runtime_(runtime), meta_(meta) {}
  // file: what encode_model made of the model. summary: for people; what is not printable becomes a dot.
  // online: by a driver; those of drivers and those of people do not push out each other.
  // kTooLarge beyond meta::kModelBytesMax; kTimeout when the outcome is not known by then.
  runtime::Task<Result<meta::pb::Model>> add(const policy::Model& model, std::vector<std::byte> file,
                                             std::string summary, uint64_t commit_timeout_ns = 30'000'000'000,
                                             bool online = false);
  // By their age, the oldest first. Records that make no sense are left out with a warning; senseless, if not null,
  // gets when they came.
  runtime::Task<Result<std::vector<Listed>>> list(std::vector<meta::Revision>* senseless = nullptr);
  // kNotFound; kCorrupt when it is not what its record says.
  runtime::Task<Result<std::vector<std::byte>>> get(meta::pb::Model model);
  runtime::Task<Result<meta::pb::Model>> find(uint64_t number);
  runtime::Task<Result<void>> remove(uint64_t number);
  // Wakes when models have come or gone. Whoever decides lists again.
  runtime::Task<Result<std::unique_ptr<meta::Watch>>> watch();

 private:
  struct Part {
    std::string key;
    meta::Revision revision = 0;
  };
  // Of one addition.
  struct Work {
    meta::pb::Model record;
    std::vector<std::byte> file;
    std::vector<Part> parts;  // that are written
    uint64_t writer = 0;
    uint64_t deadline_ns = 0;
  };
  runtime::Task<Result<uint64_t>> next_number();
  // False: the number was taken by another at that moment.
  runtime::Task<Result<bool>> put_part(Work& work, uint64_t part);
  runtime::Task<Result<void>> put_record(Work& work);
  runtime::Task<Result<void>> erase(uint64_t number, meta::Revision revision, uint64_t deadline_ns);
  runtime::Task<Result<void>> clean_up(meta::pb::Model added, uint64_t deadline_ns);
  runtime::Task<Result<void>> clean_up_parts(std::vector<Listed> listed, uint64_t deadline_ns);

  runtime::Runtime& runtime_;
  meta::Meta& meta_;
};

}  // namespace foreshard::app
