#include "app/region_models.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/units.h"
#include "meta/records.h"
#include "meta/settle.h"

namespace foreshard::app {

using runtime::Task;

namespace {

constexpr uint64_t kCommitTimeoutNs = 30'000'000'000;
constexpr uint32_t kAttemptsMax = 8;  // to get a number
constexpr uint32_t kUnwholeMax = 64;  // looked at in one cleaning
constexpr uint64_t kUnwholeKept = 3;  // numbers behind the newest whose parts may still be under way

std::string printable(std::string text) {
  text.resize(std::min(text.size(), meta::kModelSummaryBytesMax));
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '.';
  }
  return text;
}

meta::Compare at_revision(std::string key, meta::Revision revision) {
  return {meta::Compare::Target::kModified, std::move(key), revision, {}};
}

meta::Operation erase_of(meta::Operation::Kind kind, std::string key) { return {kind, std::move(key), {}, 0}; }

Error no_such_model(uint64_t number) {
  return {ErrorCode::kNotFound, "model", 0,
          fmt::format("there is no model {}; 'foreshard model list' lists those that there are", number)};
}

}  // namespace

const char* symbols_name(policy::SymbolKind symbols) {
  return symbols == policy::SymbolKind::kFile ? "files" : "deltas";
}

Result<void> check_for_volumes(const policy::Model& model) {
  if (model.shape.symbols == policy::SymbolKind::kFile) {
    return fail(ErrorCode::kInvalid, "model", std::string("it is for files, not for volumes"));
  }
  if (model.shape.kind == policy::ModelKind::kLstm) return {};
  return fail(ErrorCode::kInvalid, "model",
              fmt::format("it is a {}; drivers run lstm models only", policy::model_kind_name(model.shape.kind)));
}

Task<Result<meta::pb::Model>> RegionModels::add(const policy::Model& model, std::vector<std::byte> file,
                                                std::string summary, uint64_t commit_timeout_ns, bool online) {
  if (file.empty() || file.size() > meta::kModelBytesMax) {
    co_return fail(ErrorCode::kTooLarge, "model",
                   fmt::format("it has {}; a region keeps models of at most {}", format_size(file.size()),
                               format_size(meta::kModelBytesMax)));
  }
  Work work;
  work.record.set_online(online);
  work.record.set_kind(policy::model_kind_name(model.shape.kind));
  work.record.set_symbols(symbols_name(model.shape.symbols));
  work.record.set_file_bytes(file.size());
  work.record.set_crc32c(crc32c(file));
  work.record.set_weights(model.shape.weights());
  work.record.set_created_wall_ns(runtime_.wall_ns());
  work.record.set_summary(printable(std::move(summary)));
  work.file = std::move(file);
  work.writer = runtime_.random().next();
  work.deadline_ns = runtime_.now_ns() + commit_timeout_ns;

  bool begun = false;
  for (uint32_t attempt = 0; attempt < kAttemptsMax && !begun; ++attempt) {
    CO_TRY(const uint64_t number, co_await next_number());
    work.record.set_number(number);
    CO_TRY(begun, co_await put_part(work, 0));
  }
  if (!begun) co_return fail(ErrorCode::kBusy, "model", std::string("too many are being added at once; try again"));
  for (uint64_t part = 1; part < meta::model_parts(work.file.size()); ++part) {
    CO_TRY(const bool put, co_await put_part(work, part));
    if (!put) co_return fail(ErrorCode::kConflict, "model", std::string("it was removed meanwhile; add it again"));
  }
  CO_TRY_VOID(co_await put_record(work));
  // It is there; what is left behind of others goes at the next addition.
  const Result<void> cleaned = co_await clean_up(work.record, work.deadline_ns);
  if (!cleaned) LOG_WARN("old models stay for now: {}", cleaned.error().message());
  co_return work.record;
}

// Above all numbers that records or parts have.
Task<Result<uint64_t>> RegionModels::next_number() {
  uint64_t newest = 0;
  const std::string prefix = meta::models_prefix();
  CO_TRY(const meta::RangeResult record, co_await meta_.range(prefix, meta::prefix_end(prefix), 0));
  for (const meta::Entry& entry : record.entries) {
    const Result<uint64_t> number = meta::number_of_key(entry.key);  // what is no number is no model
    if (number && *number <= INT64_MAX) newest = std::max(newest, *number);
  }
  const std::string parts = meta::model_parts_prefix();
  CO_TRY(const meta::RangeResult part, co_await meta_.range(parts, meta::prefix_end(parts), 1, true));
  for (const meta::Entry& entry : part.entries) {
    const std::string_view key = entry.key;
    CO_TRY(const uint64_t number, meta::number_of_key(key.substr(0, key.rfind('/'))));
    newest = std::max(newest, number);
  }
  if (newest >= UINT64_MAX - 1) co_return fail(ErrorCode::kCorrupt, "model", std::string("no number is left"));
  co_return newest + 1;
}

Task<Result<bool>> RegionModels::put_part(Work& work, uint64_t part) {
  const uint64_t number = work.record.number();
  const uint64_t begin = part * meta::kModelPartBytes;
  const std::string key = meta::model_part_key(number, part);
  const std::string_view all = as_text(work.file);
  meta::pb::ModelPart record;
  record.set_data(std::string(all.substr(begin, meta::kModelPartBytes)));
  *record.mutable_nonce() = meta::make_nonce(work.writer, part);
  meta::Transaction transaction;
  transaction.compares.push_back(at_revision(key, 0));
  transaction.compares.push_back(at_revision(meta::model_key(number), 0));
  for (const Part& written : work.parts) transaction.compares.push_back(at_revision(written.key, written.revision));
  transaction.operations.push_back({meta::Operation::Kind::kPut, key, meta::encode(record), 0});
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime_, meta_, std::move(transaction), work.deadline_ns));
  if (!result.succeeded) co_return false;
  work.parts.push_back({key, result.revision});
  co_return true;
}

Task<Result<void>> RegionModels::put_record(Work& work) {
  *work.record.mutable_nonce() = meta::make_nonce(work.writer, work.parts.size());
  const std::string key = meta::model_key(work.record.number());
  meta::Transaction transaction;
  transaction.compares.push_back(at_revision(key, 0));
  for (const Part& written : work.parts) transaction.compares.push_back(at_revision(written.key, written.revision));
  transaction.operations.push_back({meta::Operation::Kind::kPut, key, meta::encode(work.record), 0});
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime_, meta_, std::move(transaction), work.deadline_ns));
  if (result.succeeded) co_return Result<void>();
  co_return fail(ErrorCode::kConflict, "model", std::string("it was removed meanwhile; add it again"));
}

Task<Result<std::vector<RegionModels::Listed>>> RegionModels::list(std::vector<meta::Revision>* senseless) {
  const std::string prefix = meta::models_prefix();
  CO_TRY(const meta::RangeResult range, co_await meta_.range(prefix, meta::prefix_end(prefix), 0));
  std::vector<Listed> listed;
  for (const meta::Entry& entry : range.entries) {
    Result<meta::pb::Model> model = meta::decode<meta::pb::Model>(entry);
    if (model) {
      listed.push_back({std::move(*model), entry.created});
    } else {
      LOG_WARN("a model is passed over: {}", model.error().message());
      if (senseless != nullptr) senseless->push_back(entry.created);
    }
  }
  const auto older = [](const Listed& a, const Listed& b) { return a.created < b.created; };
  std::sort(listed.begin(), listed.end(), older);
  co_return listed;
}

Task<Result<meta::pb::Model>> RegionModels::find(uint64_t number) {
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta_.get(meta::model_key(number)));
  if (!entry) co_return fail(no_such_model(number));
  co_return meta::decode<meta::pb::Model>(*entry);
}

Task<Result<std::vector<std::byte>>> RegionModels::get(meta::pb::Model model) {
  std::vector<std::byte> file;
  file.reserve(model.file_bytes());
  const uint64_t parts = meta::model_parts(model.file_bytes());
  const auto corrupt = [&model](const char* what) {
    return fail(ErrorCode::kCorrupt, "model", fmt::format("model {} is damaged: {}", model.number(), what));
  };
  for (uint64_t part = 0; part < parts; ++part) {
    CO_TRY(const std::optional<meta::Entry> entry, co_await meta_.get(meta::model_part_key(model.number(), part)));
    if (!entry) co_return corrupt("a part is missing");
    CO_TRY(const meta::pb::ModelPart record, meta::decode<meta::pb::ModelPart>(*entry));
    const ConstByteSpan data = as_bytes(record.data());
    file.insert(file.end(), data.begin(), data.end());
    if (file.size() > model.file_bytes()) co_return corrupt("a part is too long");
  }
  if (file.size() != model.file_bytes()) co_return corrupt("a part is too short");
  if (crc32c(file) != model.crc32c()) co_return corrupt("its checksum does not fit");
  co_return file;
}

Task<Result<void>> RegionModels::remove(uint64_t number) {
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta_.get(meta::model_key(number)));
  if (!entry) co_return fail(no_such_model(number));
  co_return co_await erase(number, entry->modified, runtime_.now_ns() + kCommitTimeoutNs);
}

// revision: of its record; 0: it has none.
Task<Result<void>> RegionModels::erase(uint64_t number, meta::Revision revision, uint64_t deadline_ns) {
  meta::Transaction transaction;
  transaction.compares.push_back(at_revision(meta::model_key(number), revision));
  transaction.operations.push_back(erase_of(meta::Operation::Kind::kErase, meta::model_key(number)));
  transaction.operations.push_back(erase_of(meta::Operation::Kind::kErasePrefix, meta::model_parts_prefix(number)));
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime_, meta_, std::move(transaction), deadline_ns));
  if (result.succeeded) co_return Result<void>();
  co_return fail(ErrorCode::kConflict, "model", fmt::format("model {} changed meanwhile; try again", number));
}

Task<Result<void>> RegionModels::clean_up(meta::pb::Model added, uint64_t deadline_ns) {
  CO_TRY(std::vector<Listed> listed, co_await list());
  std::vector<Listed> of_kind;
  for (const Listed& one : listed) {
    const bool alike = one.model.kind() == added.kind() && one.model.online() == added.online();
    if (alike) of_kind.push_back(one);
  }
  for (size_t i = 0; i + kKept < of_kind.size(); ++i) {
    CO_TRY_VOID(co_await erase(of_kind[i].model.number(), of_kind[i].created, deadline_ns));
  }
  co_return co_await clean_up_parts(std::move(listed), deadline_ns);
}

// Parts without a record, of numbers so old that nobody is still adding them; if somebody is, the compares of the
// record fail.
Task<Result<void>> RegionModels::clean_up_parts(std::vector<Listed> listed, uint64_t deadline_ns) {
  uint64_t newest = 0;
  for (const Listed& one : listed) newest = std::max(newest, one.model.number());
  std::string begin = meta::model_parts_prefix();
  const std::string end = meta::prefix_end(begin);
  for (uint32_t looked = 0; looked < kUnwholeMax; ++looked) {
    CO_TRY(const meta::RangeResult range, co_await meta_.range(begin, end, 1));
    if (range.entries.empty()) co_return Result<void>();
    const std::string_view key = range.entries[0].key;
    CO_TRY(const uint64_t number, meta::number_of_key(key.substr(0, key.rfind('/'))));
    if (number + kUnwholeKept > newest) co_return Result<void>();
    begin = meta::prefix_end(meta::model_parts_prefix(number));
    const bool whole =
        std::any_of(listed.begin(), listed.end(), [number](const Listed& one) { return one.model.number() == number; });
    if (whole) continue;
    CO_TRY_VOID(co_await erase(number, 0, deadline_ns));
  }
  co_return Result<void>();
}

Task<Result<std::unique_ptr<meta::Watch>>> RegionModels::watch() {
  // From now on: who watches lists behind it.
  const std::string prefix = meta::models_prefix();
  CO_TRY(const meta::RangeResult now, co_await meta_.range(prefix, meta::prefix_end(prefix), 1));
  co_return co_await meta_.watch(prefix, now.revision + 1);
}

}  // namespace foreshard::app
