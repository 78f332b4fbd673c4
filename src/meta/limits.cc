#include "meta/limits.h"

namespace foreshard::meta {
namespace {

Result<void> check_key(const std::string& key) {
  if (key.empty() || key.size() > kKeyBytesMax) return fail(ErrorCode::kInvalid, "metadata key length", key.size());
  return {};
}

}  // namespace

Result<void> check_transaction(const Transaction& transaction) {
  if (transaction.compares.size() + transaction.operations.size() > kTransactionPartsMax)
    return fail(ErrorCode::kTooLarge, "transaction parts", transaction.compares.size() + transaction.operations.size());
  size_t bytes = 0;
  for (const Compare& compare : transaction.compares) {
    TRY_VOID(check_key(compare.key));
    bytes += compare.key.size() + compare.value.size();
  }
  for (const Operation& operation : transaction.operations) {
    TRY_VOID(check_key(operation.key));
    if (operation.value.size() > kValueBytesMax)
      return fail(ErrorCode::kTooLarge, "metadata value", operation.value.size());
    bytes += operation.key.size() + operation.value.size();
  }
  if (bytes > kTransactionBytesMax) return fail(ErrorCode::kTooLarge, "transaction bytes", bytes);
  return {};
}

}  // namespace foreshard::meta
