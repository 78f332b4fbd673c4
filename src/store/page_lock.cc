#include "store/page_lock.h"

namespace foreshard::store {

PageLock::PageLock(PageLocks& locks, runtime::Executor& executor, uint32_t first_page, uint32_t pages,
                   PageAccess access)
    : locks_(locks), executor_(executor), first_(first_page), end_(first_page + pages), access_(access) {
  previous_ = locks_.tail_;
  (previous_ != nullptr ? previous_->next_ : locks_.head_) = this;
  locks_.tail_ = this;
  granted_ = !blocked();
}

bool PageLock::blocked() const {
  for (const PageLock* earlier = previous_; earlier != nullptr; earlier = earlier->previous_)
    if (conflicts(*earlier)) return true;
  return false;
}

PageLock::~PageLock() {
  (previous_ != nullptr ? previous_->next_ : locks_.head_) = next_;
  (next_ != nullptr ? next_->previous_ : locks_.tail_) = previous_;
  for (PageLock* later = next_; later != nullptr; later = later->next_) {
    if (later->granted_ || !conflicts(*later) || later->blocked()) continue;
    later->granted_ = true;
    if (later->waiter_) executor_.post(later->waiter_);
  }
}

}  // namespace foreshard::store
