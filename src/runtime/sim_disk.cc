#include "runtime/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/assert.h"

namespace foreshard::runtime {

namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

std::string clean(std::string folder) {
  while (!folder.empty() && folder.back() == '/') folder.pop_back();
  return folder == "." ? std::string() : folder;
}

}  // namespace

// ---- contents

void SimInode::get_sector(uint64_t sector, std::byte* into) const {
  const uint64_t offset = sector * kSectorBytes;
  const auto found = pages_.find(offset / kPageBytes);
  if (found == pages_.end())
    std::memset(into, 0, kSectorBytes);
  else
    std::memcpy(into, found->second->bytes.data() + offset % kPageBytes, kSectorBytes);
}

void SimInode::put_sector(uint64_t sector, const std::byte* from) {
  const uint64_t offset = sector * kSectorBytes;
  std::unique_ptr<Page>& page = pages_[offset / kPageBytes];
  if (page == nullptr) page = std::make_unique<Page>();
  std::memcpy(page->bytes.data() + offset % kPageBytes, from, kSectorBytes);
}

void SimInode::read(uint64_t offset, ByteSpan into) const {
  for (size_t done = 0; done < into.size();) {
    const uint64_t at = offset + done;
    const size_t part = std::min<size_t>(into.size() - done, kPageBytes - at % kPageBytes);
    const auto found = pages_.find(at / kPageBytes);
    if (found == pages_.end())
      std::memset(into.data() + done, 0, part);
    else
      std::memcpy(into.data() + done, found->second->bytes.data() + at % kPageBytes, part);
    done += part;
  }
}

void SimInode::write(uint64_t offset, ConstByteSpan from) {
  ++write_count_;
  for (size_t done = 0; done < from.size(); done += kSectorBytes) {
    write_sector((offset + done) / kSectorBytes, from.data() + done);
  }
  size_ = std::max(size_, offset + from.size());
}

void SimInode::write_sector(uint64_t sector, const std::byte* bytes) {
  Sector before;
  get_sector(sector, before.data());
  if (std::memcmp(before.data(), bytes, kSectorBytes) == 0) return;
  unsynced_[sector].push_back({write_count_, before});
  put_sector(sector, bytes);
}

void SimInode::flip_bit(uint64_t bit) {
  const uint64_t sector = bit / 8 / kSectorBytes;
  Sector contents;
  get_sector(sector, contents.data());
  contents[bit / 8 % kSectorBytes] ^= static_cast<std::byte>(1 << bit % 8);
  put_sector(sector, contents.data());
}

bool SimInode::rottable(uint64_t sector) const {
  if (unsynced_.contains(sector)) return false;
  Sector contents;
  get_sector(sector, contents.data());
  return !is_all_zero(contents);
}

void SimInode::make_durable(uint64_t write) {
  for (auto it = unsynced_.begin(); it != unsynced_.end();) {
    std::vector<Earlier>& earlier = it->second;
    std::erase_if(earlier, [write](const Earlier& entry) { return entry.write <= write; });
    it = earlier.empty() ? unsynced_.erase(it) : std::next(it);
  }
  durable_size_ = size_;
}

void SimInode::lose_unsynced(Random& random, uint64_t write, double keep_chance) {
  for (auto& [sector, earlier] : unsynced_) {
    const bool covered_wholly = earlier.back().write <= write;
    if (covered_wholly && !random.chance(keep_chance)) put_sector(sector, earlier.front().contents.data());
  }
  make_durable(write);
}

void SimInode::power_loss(Random& random, double keep_chance) {
  for (const auto& [sector, earlier] : unsynced_) {
    if (random.chance(keep_chance)) continue;
    put_sector(sector, earlier[random.below(earlier.size())].contents.data());
  }
  unsynced_.clear();
  if (size_ != durable_size_ && random.chance(0.5)) drop_beyond(durable_size_);
  durable_size_ = size_;
}

void SimInode::drop_beyond(uint64_t size) {
  for (uint64_t offset = size / kPageBytes * kPageBytes; offset < size_; offset += kPageBytes) {
    if (offset >= size) pages_.erase(offset / kPageBytes);
  }
  size_ = size;
}

// ---- operations

// One read, write or sync under way.
struct SimStorage::Operation {
  enum class Kind : uint8_t { kRead, kWrite, kSync };
  ~Operation() {
    if (op != nullptr) op->abandon = nullptr;
  }
  Kind kind = Kind::kRead;
  uint64_t number = 0;
  SimStorage* storage = nullptr;
  std::shared_ptr<SimInode> inode;
  SimExecutor* executor = nullptr;
  IoOp* op = nullptr;  // null when the process is gone
  uint64_t offset = 0;
  ByteSpan into;                // kRead
  std::vector<std::byte> data;  // kWrite: a copy
  uint64_t covers = 0;          // kSync: the newest write that had ended at its start

  void end(int64_t result) {
    if (op == nullptr) return;
    IoOp* ended = std::exchange(op, nullptr);
    ended->abandon = nullptr;
    ended->result = result;
    executor->post(ended->waiter);
  }
  // The process was killed and its memory is gone. A read ends here; what was written is on its way still.
  static void abandoned(IoOp* op) { static_cast<Operation*>(op->owner)->op = nullptr; }
};

void SimStorage::start(std::unique_ptr<Operation> operation) {
  operation->number = ++operation_count_;
  operation->storage = this;
  operation->op->owner = operation.get();
  operation->op->abandon = &Operation::abandoned;
  uint64_t low = knobs_.read_ns_min, high = knobs_.read_ns_max;
  if (operation->kind == Operation::Kind::kWrite) low = knobs_.write_ns_min, high = knobs_.write_ns_max;
  if (operation->kind == Operation::Kind::kSync) low = knobs_.sync_ns_min, high = knobs_.sync_ns_max;
  Random& random = timeline_.random();
  uint64_t delay_ns = random.between(low, std::max(low, high));
  if (knobs_.slow_chance > 0 && random.chance(knobs_.slow_chance)) {
    delay_ns += random.below(knobs_.slow_ns_max + 1);
    timeline_.fault("disk slow", name_);
  }
  const uint64_t number = operation->number;
  operations_.emplace(number, std::move(operation));
  timeline_.after(delay_ns, [this, number] {
    const auto found = operations_.find(number);
    if (found == operations_.end()) return;  // a crash ended it
    const std::unique_ptr<Operation> ending = std::move(found->second);
    operations_.erase(found);
    finish(*ending);
  });
}

void SimStorage::finish(Operation& operation) {
  switch (operation.kind) {
    case Operation::Kind::kRead: return finish_read(operation);
    case Operation::Kind::kWrite: return finish_write(operation);
    case Operation::Kind::kSync: return finish_sync(operation);
  }
}

void SimStorage::finish_read(Operation& operation) {
  if (operation.op == nullptr) return;  // the memory that it would fill is gone
  Random& random = timeline_.random();
  if (knobs_.read_error_chance > 0 && random.chance(knobs_.read_error_chance)) {
    const std::string path = path_of(*operation.inode);
    timeline_.fault("disk read error", fmt::format("{}:{}", name_, path));
    damage_.push_back({path, operation.offset, operation.into.size(), false});
    return operation.end(-EIO);
  }
  const uint64_t end = operation.offset + operation.into.size();
  if (end > operation.inode->size()) {
    const uint64_t size = operation.inode->size();
    const uint64_t bytes = size > operation.offset ? size - operation.offset : 0;
    operation.inode->read(operation.offset, operation.into.first(bytes));
    return operation.end(static_cast<int64_t>(bytes));
  }
  operation.inode->read(operation.offset, operation.into);
  for (const auto& [number, other] : operations_) {
    if (other->kind != Operation::Kind::kWrite || other->inode != operation.inode) continue;
    const uint64_t from = std::max(operation.offset, other->offset);
    const uint64_t to = std::min(end, other->offset + other->data.size());
    for (uint64_t at = from; at < to; at += kSectorBytes) {
      if (random.chance(0.5)) continue;
      std::memcpy(operation.into.data() + (at - operation.offset), other->data.data() + (at - other->offset),
                  kSectorBytes);
    }
  }
  operation.end(static_cast<int64_t>(operation.into.size()));
}

void SimStorage::finish_write(Operation& operation) {
  Random& random = timeline_.random();
  const auto fires = [&](double chance) { return chance > 0 && random.chance(chance); };
  if (failing_writes_ > 0 || fires(knobs_.write_error_chance)) {
    if (failing_writes_ > 0) --failing_writes_;
    timeline_.fault("disk write error", name_);
    return operation.end(-EIO);
  }
  const uint64_t end = operation.offset + operation.data.size();
  if (end > operation.inode->size() && used_bytes() + (end - operation.inode->size()) > knobs_.capacity_bytes) {
    return operation.end(-ENOSPC);
  }
  std::optional<Spoil> how = next_spoil(*operation.inode);
  if (fires(knobs_.lost_write_chance)) how = Spoil::kLost;
  if (fires(knobs_.misdirect_chance)) how = Spoil::kMisdirected;
  if (fires(knobs_.corrupt_chance)) how = Spoil::kCorrupted;
  if (how)
    spoil(operation, *how);
  else
    operation.inode->write(operation.offset, operation.data);
  operation.end(static_cast<int64_t>(operation.data.size()));
}

std::string SimStorage::path_of(const SimInode& inode) const {
  for (const auto& [path, named] : names_) {
    if (named.get() == &inode) return path;
  }
  return {};
}

std::optional<SimStorage::Spoil> SimStorage::next_spoil(const SimInode& inode) {
  if (spoils_.empty()) return std::nullopt;
  const std::string path = path_of(inode);
  for (auto it = spoils_.begin(); it != spoils_.end(); ++it) {
    if (!path.starts_with(it->second)) continue;
    const Spoil how = it->first;
    spoils_.erase(it);
    return how;
  }
  return std::nullopt;
}

void SimStorage::spoil(Operation& operation, Spoil how) {
  ++spoilt_writes_;
  SimInode& inode = *operation.inode;
  const std::string path = path_of(inode);
  const uint64_t bytes = operation.data.size();
  const uint64_t places = inode.size() > bytes ? (inode.size() - bytes) / kPageBytes : 0;
  Random& random = timeline_.random();
  if (how == Spoil::kMisdirected && places > 0) {
    timeline_.fault("disk misdirected write", fmt::format("{}:{}", name_, path));
    const uint64_t offset = random.below(places) * kPageBytes;
    inode.write(offset, operation.data);
    damage_.push_back({path, offset, bytes, true});
    damage_.push_back({path, operation.offset, bytes, true});
  } else if (how == Spoil::kLost) {
    timeline_.fault("disk lost write", fmt::format("{}:{}", name_, path));
    damage_.push_back({path, operation.offset, bytes, true});
  } else {
    timeline_.fault("disk corruption", fmt::format("{}:{}", name_, path));
    inode.write(operation.offset, operation.data);
    const uint64_t bit = operation.offset * 8 + random.below(bytes * 8);
    inode.flip_bit(bit);
    damage_.push_back({path, bit / 8 / kPageBytes * kPageBytes, kPageBytes, true});
  }
}

void SimStorage::finish_sync(Operation& operation) {
  Random& random = timeline_.random();
  if (failing_syncs_ > 0 || (knobs_.sync_error_chance > 0 && random.chance(knobs_.sync_error_chance))) {
    if (failing_syncs_ > 0) --failing_syncs_;
    timeline_.fault("disk sync error", name_);
    operation.inode->lose_unsynced(random, operation.covers, knobs_.power_keep_chance);
    return operation.end(-EIO);
  }
  operation.inode->make_durable(operation.covers);
  operation.end(0);
}

// ---- storage

SimStorage::SimStorage(SimTimeline& timeline, std::string name) : timeline_(timeline), name_(std::move(name)) {}

SimStorage::~SimStorage() = default;

void SimStorage::end_operations(bool power) {
  // What was under way reached the disk or did not: as a whole when only the process died, by sectors else.
  Random& random = timeline_.random();
  for (auto& [number, operation] : operations_) {
    if (operation->kind != Operation::Kind::kWrite) continue;
    const uint64_t end = operation->offset + operation->data.size();
    if (end > operation->inode->size()) continue;
    if (!power) {
      if (random.chance(0.5)) operation->inode->write(operation->offset, operation->data);
      continue;
    }
    for (uint64_t at = 0; at < operation->data.size(); at += kSectorBytes) {
      if (random.chance(0.5)) {
        operation->inode->write(operation->offset + at, ConstByteSpan(operation->data).subspan(at, kSectorBytes));
      }
    }
  }
  operations_.clear();
}

void SimStorage::process_crash() { end_operations(false); }

void SimStorage::power_loss() {
  end_operations(true);
  Random& random = timeline_.random();
  uint64_t unsynced = 0;
  // Inodes in the order of names: that of pointers would not be the same in every run.
  std::set<SimInode*> done;
  std::string where;
  const auto lose = [&](const std::string& path, const std::shared_ptr<SimInode>& inode) {
    if (inode == nullptr || !done.insert(inode.get()).second) return;
    if (inode->unsynced_sectors() > 0) where += fmt::format(" {}: {} at stake", path, inode->unsynced_sectors());
    unsynced += inode->unsynced_sectors();
    inode->power_loss(random, knobs_.power_keep_chance);
  };
  for (const auto& [path, inode] : names_) lose(path, inode);
  for (const auto& [path, inode] : durable_names_) lose(path, inode);
  for (const FolderChange& change : changes_) lose(change.path, change.inode);
  if (unsynced > 0) timeline_.fault("disk lost unsynced sectors", name_ + where);
  std::map<std::string, uint64_t> kept;  // by folder: how many of its changes survive
  for (const FolderChange& change : changes_) ++kept[change.folder];
  for (auto& [folder, count] : kept) count = random.below(count + 1);
  bool lost = false;
  for (FolderChange& change : changes_) {
    if (kept[change.folder] == 0) {
      lost = true;
      continue;
    }
    --kept[change.folder];
    apply(change, durable_names_);
  }
  changes_.clear();
  if (lost) timeline_.fault("disk lost folder changes", name_);
  names_ = durable_names_;
}

bool SimStorage::corrupt_file(const std::string& path, uint64_t offset, uint64_t bytes) {
  const auto found = names_.find(path);
  if (found == names_.end() || bytes == 0) return false;
  timeline_.fault("disk corruption", fmt::format("{}:{}", name_, path));
  damage_.push_back({path, offset, bytes, false});
  found->second->flip_bit(offset * 8 + timeline_.random().below(bytes * 8));
  return true;
}

bool SimStorage::rot(const std::string& path_prefix) {
  constexpr int kTries = 200;
  std::vector<std::pair<std::string, SimInode*>> inodes;
  for (const auto& [path, inode] : names_) {
    if (path.starts_with(path_prefix) && inode->size() >= kSectorBytes) inodes.emplace_back(path, inode.get());
  }
  Random& random = timeline_.random();
  for (int i = 0; i < kTries && !inodes.empty(); ++i) {
    const auto& [path, named] = inodes[random.below(inodes.size())];
    SimInode& inode = *named;
    const uint64_t sector = random.below(inode.size() / kSectorBytes);
    if (!inode.rottable(sector)) continue;
    inode.flip_bit(sector * kSectorBytes * 8 + random.below(kSectorBytes * 8));
    timeline_.fault("disk rot", fmt::format("{}:{}", name_, path));
    damage_.push_back({path, sector * kSectorBytes / kPageBytes * kPageBytes, kPageBytes, false});
    return true;
  }
  return false;
}

void SimStorage::replace() {
  ASSERT(operations_.empty());
  names_.clear();
  durable_names_.clear();
  changes_.clear();
  damage_.clear();
  timeline_.fault("disk replaced", name_);
}

uint64_t SimStorage::used_bytes() const {
  uint64_t sum = 0;
  for (const auto& [path, inode] : names_) sum += inode->size();
  return sum;
}

std::vector<std::string> SimStorage::files() const {
  std::vector<std::string> paths;
  for (const auto& [path, inode] : names_) paths.push_back(path);
  return paths;
}

void SimStorage::apply(const FolderChange& change, Names& names) {
  if (change.inode)
    names[change.path] = change.inode;
  else
    names.erase(change.path);
  if (!change.renamed_from.empty()) names.erase(change.renamed_from);
}

void SimStorage::change_name(FolderChange change) {
  apply(change, names_);
  changes_.push_back(std::move(change));
}

// ---- a process's handles

class SimFile final : public File {
 public:
  SimFile(SimStorage& storage, SimExecutor& executor, std::shared_ptr<SimInode> inode)
      : storage_(storage), executor_(executor), inode_(std::move(inode)) {}

  bool start_read(IoOp& op, uint64_t offset, ByteSpan into) override {
    if (!aligned(offset, into.size()) || into.size() == 0) return refuse(op);
    auto operation = begin(op, SimStorage::Operation::Kind::kRead, offset);
    operation->into = into;
    storage_.start(std::move(operation));
    return true;
  }

  bool start_write(IoOp& op, uint64_t offset, std::span<const iovec> from) override {
    auto operation = begin(op, SimStorage::Operation::Kind::kWrite, offset);
    for (const iovec& part : from) {
      const auto* bytes = static_cast<const std::byte*>(part.iov_base);
      operation->data.insert(operation->data.end(), bytes, bytes + part.iov_len);
    }
    if (!aligned(offset, operation->data.size()) || operation->data.empty()) {
      operation->op = nullptr;
      return refuse(op);
    }
    storage_.start(std::move(operation));
    return true;
  }

  bool start_sync(IoOp& op) override {
    auto operation = begin(op, SimStorage::Operation::Kind::kSync, 0);
    operation->covers = inode_->newest_write();
    storage_.start(std::move(operation));
    return true;
  }

  Result<uint64_t> size() override { return inode_->size(); }

  Result<void> allocate(uint64_t size) override {
    if (size <= inode_->size()) return {};
    if (storage_.used_bytes() + (size - inode_->size()) > storage_.knobs().capacity_bytes) {
        return fail(ErrorCode::kNoSpace, "allocate", size);
    }
    inode_->set_size(size);
    return {};
  }

 private:
  static bool aligned(uint64_t offset, uint64_t bytes) { return offset % kPageBytes == 0 && bytes % kPageBytes == 0; }
  static bool refuse(IoOp& op) {
    op.result = -EINVAL;
    return false;
  }
  std::unique_ptr<SimStorage::Operation> begin(IoOp& op, SimStorage::Operation::Kind kind, uint64_t offset) {
    auto operation = std::make_unique<SimStorage::Operation>();
    operation->kind = kind;
    operation->inode = inode_;
    operation->executor = &executor_;
    operation->op = &op;
    operation->offset = offset;
    return operation;
  }
  SimStorage& storage_;
  SimExecutor& executor_;
  std::shared_ptr<SimInode> inode_;
};

Result<std::unique_ptr<File>> SimDisk::open(const std::string& path, Open mode) {
  auto found = storage_.names_.find(path);
  if (found == storage_.names_.end()) {
    if (mode == Open::kExisting) return fail(ErrorCode::kNotFound, "open", path);
    storage_.change_name({folder_of(path), path, std::make_shared<SimInode>(), {}});
    found = storage_.names_.find(path);
  }
  return std::make_unique<SimFile>(storage_, executor_, found->second);
}

Result<bool> SimDisk::exists(const std::string& path) {
  if (storage_.names_.contains(path)) return true;
  const auto below = storage_.names_.lower_bound(path + "/");
  return below != storage_.names_.end() && below->first.starts_with(path + "/");
}

Result<void> SimDisk::remove(const std::string& path) {
  if (!storage_.names_.contains(path)) return fail(ErrorCode::kNotFound, "remove", path);
  storage_.change_name({folder_of(path), path, nullptr, {}});
  return {};
}

Result<void> SimDisk::rename(const std::string& from, const std::string& to) {
  const auto found = storage_.names_.find(from);
  if (found == storage_.names_.end()) return fail(ErrorCode::kNotFound, "rename", from);
  if (from == to) return {};
  storage_.change_name({folder_of(to), to, found->second, from});
  return {};
}

Result<std::vector<std::string>> SimDisk::list(const std::string& folder) {
  const std::string prefix = clean(folder).empty() ? std::string() : clean(folder) + "/";
  std::vector<std::string> names;
  for (auto it = storage_.names_.lower_bound(prefix); it != storage_.names_.end() && it->first.starts_with(prefix);
       ++it) {
    const std::string rest = it->first.substr(prefix.size());
    const std::string name = rest.substr(0, rest.find('/'));
    if (names.empty() || names.back() != name) names.push_back(name);
  }
  return names;
}

Result<void> SimDisk::sync_folder(const std::string& folder) {
  const std::string wanted = clean(folder);
  std::erase_if(storage_.changes_, [&](const SimStorage::FolderChange& change) {
    if (change.folder != wanted) return false;
    SimStorage::apply(change, storage_.durable_names_);
    return true;
  });
  return {};
}

Result<uint64_t> SimDisk::free_bytes() {
  const uint64_t used = storage_.used_bytes(), capacity = storage_.knobs().capacity_bytes;
  return used >= capacity ? 0 : capacity - used;
}

}  // namespace foreshard::runtime
