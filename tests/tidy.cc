// tidy: holds the tree to its house rules, without a compiler: the direction of includes between layers, the
// fences around third-party libraries, lengths of files and functions, calls that would let the world in past
// the runtime, unfinished words and plain untidiness. Prints what breaks a rule, what comes near, and the
// farthest from the style; exit status 1 when a rule is broken. Usage: tidy [ROOT]
//
// A line that must break the rule on banned calls says why in a comment on it: "// tidy: REASON".
#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr size_t kFileLinesMax = 800;
constexpr size_t kFileLinesLong = 450;
constexpr size_t kFunctionLinesMax = 100;
constexpr size_t kFunctionLinesLong = 60;
constexpr size_t kLineColumnsMax = 120;

// In order: a file includes its own layer and the ones before it, with the exceptions of kIncludeExceptions.
constexpr std::array kLayers = {"base",   "runtime",    "rpc",     "index", "meta", "store", "policy", "server",
                                "volume", "filesystem", "manager", "front", "app",  "cli",   "sim"};

struct Fence {
  std::string_view header;              // prefix of what stands between < >
  std::vector<std::string_view> where;  // prefixes of paths that may include it
};

const std::vector<Fence>& fences() {
  static const std::vector<Fence> all = {
      {"liburing", {"src/runtime/"}},
      {"rocksdb/", {"src/index/rocks_"}},
      {"google/protobuf/", {"src/meta/"}},
      {"isa-l", {"src/base/crc32c"}},
      {"tl/expected", {"src/base/result.h"}},
      {"libnbd.h", {"bench/", "tests/"}},
      {"CLI/", {"src/cli/"}},
      {"fuse3/", {"src/front/fuse"}},
      {"metis.h", {"src/policy/partition"}},
      {"torch/", {"src/policy/predict/torch/"}},
      {"ATen/", {"src/policy/predict/torch/"}},
      {"hwy/", {"src/policy/predict/neural/"}},
      {"zstd.h", {"src/app/trace_input", "src/cli/trace_input"}},
      {"dlfcn.h", {"src/app/train_module"}},
      {"sys/socket.h", {"src/runtime/", "bench/", "tests/"}},
      {"sys/epoll.h", {"src/runtime/"}},
      {"netdb.h", {"src/runtime/"}},
      {"thread>", {"src/runtime/", "src/index/rocks_", "bench/", "tests/"}},
      {"chrono>", {"src/runtime/", "bench/", "tests/"}},
  };
  return all;
}

// Words that may not stand in the code of src outside runtime: with them a run is no longer decided by its
// seed, or a thread blocks.
struct Ban {
  std::string_view word;
  std::string_view instead;
};
constexpr std::array kBans = {
    Ban{"system_clock", "Runtime::wall_ns"},
    Ban{"steady_clock", "Executor::now_ns"},
    Ban{"high_resolution_clock", "Executor::now_ns"},
    Ban{"clock_gettime", "Executor::now_ns"},
    Ban{"gettimeofday", "Runtime::wall_ns"},
    Ban{"this_thread", "Executor::sleep_for"},
    Ban{"usleep", "Executor::sleep_for"},
    Ban{"nanosleep", "Executor::sleep_for"},
    Ban{"rand", "base/random.h"},
    Ban{"srand", "base/random.h"},
    Ban{"random_device", "Runtime::random"},
    Ban{"mt19937", "base/random.h"},
    Ban{"mt19937_64", "base/random.h"},
    Ban{"uniform_int_distribution", "base/random.h: the library's differ between versions"},
    Ban{"uniform_real_distribution", "base/random.h: the library's differ between versions"},
    Ban{"shuffle", "base/random.h: the library's differ between versions"},
    Ban{"jthread", "a coroutine"},
    Ban{"pthread_create", "a coroutine"},
    Ban{"async", "a coroutine"},
};

struct SourceFile {
  std::string path;  // from the root, with slashes
  std::vector<std::string> lines;
  std::vector<std::string> code;  // the lines with comments, strings and character constants blanked
};

struct Function {
  std::string path;
  std::string name;
  size_t line = 0;
  size_t lines = 0;
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool starts_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }
bool ends_with(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}
bool is_cpp(std::string_view path) { return ends_with(path, ".cc") || ends_with(path, ".h"); }

// The position of `word` standing alone in `line`, from `from` on.
size_t find_word(std::string_view line, std::string_view word, size_t from = 0) {
  for (size_t at = line.find(word, from); at != std::string_view::npos; at = line.find(word, at + 1)) {
    const bool left = at == 0 || !is_word(line[at - 1]);
    const bool right = at + word.size() >= line.size() || !is_word(line[at + word.size()]);
    if (left && right) return at;
  }
  return std::string_view::npos;
}

// Blanks comments, strings and character constants, keeping every line's length.
std::vector<std::string> strip(const std::vector<std::string>& lines) {
  enum class In { kCode, kBlockComment, kRawString } in = In::kCode;
  std::string raw_end;
  std::vector<std::string> out;
  for (const std::string& line : lines) {
    std::string code(line.size(), ' ');
    for (size_t i = 0; i < line.size();) {
      if (in == In::kBlockComment || in == In::kRawString) {
        const std::string_view end = in == In::kBlockComment ? std::string_view("*/") : std::string_view(raw_end);
        const size_t at = line.find(end, i);
        if (at == std::string::npos) break;
        i = at + end.size();
        in = In::kCode;
      } else if (line.compare(i, 2, "//") == 0) {
        break;
      } else if (line.compare(i, 2, "/*") == 0) {
        in = In::kBlockComment;
        i += 2;
      } else if (line.compare(i, 2, "R\"") == 0 && (i == 0 || !is_word(line[i - 1]))) {
        const size_t open = line.find('(', i);
        raw_end = ")" + line.substr(i + 2, open == std::string::npos ? 0 : open - i - 2) + "\"";
        in = In::kRawString;
        i = open == std::string::npos ? line.size() : open + 1;
      } else if (line[i] == '"' || (line[i] == '\'' && (i == 0 || !is_word(line[i - 1])))) {
        const char quote = line[i];
        code[i] = quote;
        for (++i; i < line.size() && line[i] != quote; ++i) {
          if (line[i] == '\\') ++i;
        }
        if (i < line.size()) code[i++] = quote;
      } else {
        code[i] = line[i];
        ++i;
      }
    }
    out.push_back(std::move(code));
  }
  return out;
}

// Finds the functions of a file by its braces: a '{' at the level of a namespace or class that follows a
// parameter list opens a function's body. Lambdas and local types belong to the function around them.
class FunctionFinder {
 public:
  explicit FunctionFinder(const SourceFile& file) : file_(file) {}

  std::vector<Function> find() {
    bool continued = false;
    for (size_t line = 0; line < file_.code.size(); ++line) {
      const std::string& text = file_.code[line];
      const size_t first = text.find_first_not_of(' ');
      const bool directive = continued || (first != std::string::npos && text[first] == '#');
      continued = directive && ends_with(text, "\\");
      if (directive) continue;
      for (const char c : text) take(c, line);
      take(' ', line);
    }
    return std::move(functions_);
  }

 private:
  void take(char c, size_t line) {
    if (skip_depth_ > 0) {  // inside a function's body, an initializer or an enumeration
      if (c == '{') ++skip_depth_;
      if (c == '}' && --skip_depth_ == 0) leave(line);
      return;
    }
    if (c == '(') ++parens_;
    if (c == ')') --parens_;
    if (c == '{') {
      open(line);
    } else if (c == '}' || (c == ';' && parens_ == 0)) {
      statement_.clear();
      parens_ = 0;
    } else if (c != ' ' || !statement_.empty()) {
      if (statement_.empty()) statement_line_ = line;
      statement_ += c;
      if (ends_with(statement_, "public:") || ends_with(statement_, "private:") ||
          ends_with(statement_, "protected:")) {
        statement_.clear();
      }
    }
  }

  void open(size_t line) {
    const size_t parameters = statement_.find('(');
    const bool type = find_word(statement_, "class") != std::string::npos ||
                      find_word(statement_, "struct") != std::string::npos ||
                      find_word(statement_, "union") != std::string::npos;
    const bool has_parameters = parameters != std::string::npos;
    if (find_word(statement_, "namespace") != std::string::npos || starts_with(statement_, "extern \"\"") ||
        (type && (!has_parameters || starts_with_type()))) {
      statement_.clear();
      return;
    }
    skip_depth_ = 1;
    in_function_ = has_parameters && parens_ == 0 && !is_initializer();
    body_line_ = line;
  }

  // The end of a skipped pair of braces.
  void leave(size_t line) {
    if (!in_function_) {
      statement_ += "{}";  // the statement goes on: a member's initializer, an array, an enumeration
      return;
    }
    functions_.push_back({file_.path, name(), statement_line_ + 1, line - statement_line_ + 1});
    statement_.clear();
  }

  bool starts_with_type() const {
    std::string_view text = statement_;
    if (starts_with(text, "template")) text.remove_prefix(std::min(text.size(), text.rfind('>') + 1));
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    return starts_with(text, "class ") || starts_with(text, "struct ") || starts_with(text, "union ");
  }

  // `T x = ... {`, or `Name() : member_{` within a constructor's list.
  bool is_initializer() const {
    int depth = 0;
    bool list = false;
    for (size_t i = 0; i < statement_.size(); ++i) {
      const char c = statement_[i];
      if (c == '(') ++depth;
      if (c == ')') --depth;
      if (depth != 0) continue;
      const bool comparison = i + 1 < statement_.size() && statement_[i + 1] == '=';
      const bool part = i > 0 && std::string_view("=<>!+-*/%&|^").find(statement_[i - 1]) != std::string_view::npos;
      if (c == '=' && !comparison && !part && statement_.find("operator") == std::string::npos) return true;
      const bool colon =
          c == ':' && statement_[i - (i > 0)] != ':' && (i + 1 >= statement_.size() || statement_[i + 1] != ':');
      if (colon && statement_.find(')') < i) list = true;
    }
    if (!list) return false;
    const size_t last = statement_.find_last_not_of(' ');
    return last != std::string::npos && is_word(statement_[last]);
  }

  std::string name() const {
    size_t open = statement_.find('(');
    const size_t op = find_word(statement_, "operator");
    if (op != std::string::npos && op < open) return statement_.substr(op, open - op);
    if (starts_with(statement_, "TEST")) return statement_.substr(open + 1, statement_.find(')') - open - 1);
    while (open > 0 && statement_[open - 1] == ' ') --open;
    size_t begin = open;
    while (begin > 0 &&
           (is_word(statement_[begin - 1]) || statement_[begin - 1] == ':' || statement_[begin - 1] == '~'))
      --begin;
    return statement_.substr(begin, open - begin);
  }

  const SourceFile& file_;
  std::vector<Function> functions_;
  std::string statement_;  // code since the last end of a statement, at the level of a namespace or class
  size_t statement_line_ = 0;
  size_t body_line_ = 0;
  int parens_ = 0;
  int skip_depth_ = 0;
  bool in_function_ = false;
};

class Tidy {
 public:
  explicit Tidy(fs::path root) : root_(std::move(root)) {}

  int run() {
    read_tree();
    for (const SourceFile& file : files_) check(file);
    report();
    return faults_ == 0 && !files_.empty() ? 0 : 1;
  }

 private:
  void read_tree() {
    for (const char* top : {"src", "tests", "bench", "scripts", "docs", "cmake", ".ci"}) {
      if (!fs::exists(root_ / top)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root_ / top)) {
        const std::string path = fs::relative(entry.path(), root_).generic_string();
        const std::string extension = entry.path().extension();
        static const std::set<std::string> kinds = {".cc", ".h", ".proto", ".sh", ".py", ".cmake", ".md", ".txt"};
        const bool plain = extension.empty() && starts_with(path, ".ci/");
        if (entry.is_regular_file() && (kinds.contains(extension) || plain)) read(path);
      }
    }
    for (const auto& entry : fs::directory_iterator(root_)) {
      const std::string name = entry.path().filename();
      if (entry.is_regular_file() &&
          (ends_with(name, ".md") || name == "run" || name == "test" || name == "CMakeLists.txt")) {
        read(name);
      }
    }
    std::sort(files_.begin(), files_.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  }

  void read(const std::string& path) {
    SourceFile file{path, {}, {}};
    std::ifstream in(root_ / path);
    for (std::string line; std::getline(in, line);) file.lines.push_back(std::move(line));
    if (is_cpp(path)) file.code = strip(file.lines);
    files_.push_back(std::move(file));
  }

  void check(const SourceFile& file) {
    check_text(file);
    if (file.code.empty()) return;
    check_includes(file);
    check_calls(file);
    if (file.lines.size() > kFileLinesMax) {
      fault(file, 0, "file of " + std::to_string(file.lines.size()) + " lines; 800 is a fault");
    }
    if (file.lines.size() > kFileLinesLong) {
      note(file.path + ": " + std::to_string(file.lines.size()) + " lines (450 is long)");
    }
    if (file.lines.size() > longest_file_lines_) {
      longest_file_lines_ = file.lines.size();
      longest_file_ = file.path;
    }
    for (Function& function : FunctionFinder(file).find()) {
      const std::string text = function.name + ": function of " + std::to_string(function.lines) + " lines";
      if (function.lines > kFunctionLinesMax)
        fault(file, function.line, text + "; at most 100");
      else if (function.lines > kFunctionLinesLong)
        note(file.path + ":" + std::to_string(function.line) + ": " + text);
      if (function.lines > longest_function_.lines) longest_function_ = std::move(function);
    }
  }

  // What holds for every kind of text.
  void check_text(const SourceFile& file) {
    const bool markdown = ends_with(file.path, ".md");
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string& line = file.lines[i];
      if (line.find('\t') != std::string::npos) fault(file, i + 1, "tab");
      if (!line.empty() && (line.back() == ' ' || line.back() == '\r'))
        fault(file, i + 1, "blank at the end of the line");
      const size_t columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
      if (!markdown && columns > kLineColumnsMax) {
        fault(file, i + 1, "line of " + std::to_string(columns) + " columns; at most 120");
      }
      // Put together, so that this very file and its test do not hold the words.
      for (const std::string& word : {std::string("TO") + "DO", std::string("FIX") + "ME", std::string("XX") + "X"}) {
        if (find_word(line, word) != std::string::npos) fault(file, i + 1, "unfinished: " + word);
      }
    }
  }

  static int layer_index(std::string_view name) {
    const auto* at = std::find(kLayers.begin(), kLayers.end(), name);
    return at == kLayers.end() ? -1 : static_cast<int>(at - kLayers.begin());
  }

  static std::string layer_of(const std::string& path) {
    if (!starts_with(path, "src/")) return {};
    return path.substr(4, path.find('/', 4) - 4);
  }

  void check_includes(const SourceFile& file) {
    const std::string layer = layer_of(file.path);
    if (!layer.empty() && layer_index(layer) < 0) fault(file, 0, "folder " + layer + " is no layer that tidy knows");
    for (size_t i = 0; i < file.lines.size(); ++i) {
      std::string_view line = file.lines[i];
      if (!starts_with(line, "#include ") || line.size() < 11) continue;
      line.remove_prefix(9);
      const size_t end = line.find(line[0] == '<' ? '>' : '"', 1);
      if (end == std::string_view::npos) continue;
      const std::string header(line.substr(1, end - 1));
      if (line[0] == '<')
        check_fence(file, i + 1, header);
      else
        check_layer(file, i + 1, layer, header);
    }
  }

  void check_layer(const SourceFile& file, size_t line, const std::string& layer, const std::string& header) {
    ++included_by_["src/" + header];
    if (layer.empty()) return;
    const std::string target = header.substr(0, header.find('/'));
    const int from = layer_index(layer);
    const int to = layer_index(target);
    if (to < 0) {
      fault(file, line, "include \"" + header + "\" by its path from src");
    } else if (to > from) {
      fault(file, line, layer + " may not include " + target + ": includes point downward");
    } else if (layer == "policy" && target != "policy" && target != "base") {
      fault(file, line, "policy is pure: it includes base only, not " + target);
    } else if (layer == "sim" && target == "cli") {
      fault(file, line, "sim stands on app, not on cli");
    }
  }

  void check_fence(const SourceFile& file, size_t line, const std::string& header) {
    if (allowed(file.lines[line - 1])) return;
    for (const Fence& fence : fences()) {
      if (!starts_with(header + ">", fence.header)) continue;
      const bool inside = std::any_of(fence.where.begin(), fence.where.end(),
                                      [&](std::string_view where) { return starts_with(file.path, where); });
      if (!inside) fault(file, line, "<" + header + "> outside its fence (" + std::string(fence.where[0]) + ")");
    }
    const bool test = ends_with(file.path, "_test.cc") || file.path.find("conformance") != std::string::npos ||
                      starts_with(file.path, "tests/") || file.path.find("_testing.h") != std::string::npos;
    if ((starts_with(header, "gtest/") || starts_with(header, "gmock/")) && !test) {
      fault(file, line, "<" + header + "> outside of tests");
    }
  }

  void check_calls(const SourceFile& file) {
    const bool banned = starts_with(file.path, "src/") && !starts_with(file.path, "src/runtime/");
    for (size_t i = 0; i < file.code.size(); ++i) {
      if (file.code[i].find("using namespace std") != std::string::npos) fault(file, i + 1, "using namespace std");
      if (allowed(file.lines[i])) continue;
      if (banned) check_bans(file, i);
    }
    if (ends_with(file.path, "_test.cc")) check_sleeps(file);
  }

  // A test neither blocks its thread nor waits on the real reactor's clock; virtual time may pass. The runtime's own
  // tests test that clock.
  void check_sleeps(const SourceFile& file) {
    const bool real_time = !starts_with(file.path, "src/runtime/") &&
                           std::any_of(file.lines.begin(), file.lines.end(), [](const std::string& line) {
                             return starts_with(line, "#include \"runtime/real_");
                           });
    for (size_t i = 0; i < file.code.size(); ++i) {
      const std::string& code = file.code[i];
      if (allowed(file.lines[i])) continue;
      const auto has = [&code](const char* word) { return find_word(code, word) != std::string::npos; };
      const bool blocks = has("usleep") || has("nanosleep") || code.find("this_thread::sleep") != std::string::npos;
      if (blocks) fault(file, i + 1, "a test does not sleep");
      if (real_time && (has("sleep_for") || has("sleep_until"))) {
        fault(file, i + 1, "a test on the real reactor does not sleep");
      }
    }
  }

  void check_bans(const SourceFile& file, size_t i) {
    const std::string& code = file.code[i];
    for (const Ban& ban : kBans) {
      const size_t at = find_word(code, ban.word);
      if (at == std::string::npos) continue;
      const char after = at + ban.word.size() < code.size() ? code[at + ban.word.size()] : ' ';
      const bool member = at > 0 && (code[at - 1] == '.' || code[at - 1] == '>');
      const bool plain_word = ban.word == "rand" || ban.word == "shuffle" || ban.word == "async";
      if (plain_word && (member || after != '(')) continue;
      fault(file, i + 1, std::string(ban.word) + ": use " + std::string(ban.instead));
    }
    const size_t at = find_word(code, "time");
    if (at != std::string::npos &&
        (starts_with(code.substr(at), "time(nullptr)") || starts_with(code.substr(at), "time(NULL)"))) {
      fault(file, i + 1, "time(nullptr): use Runtime::wall_ns");
    }
    const bool rocks = starts_with(file.path, "src/index/rocks_");
    const size_t thread = find_word(code, "thread");
    if (!rocks && thread != std::string::npos && thread >= 5 && code.compare(thread - 5, 5, "std::") == 0) {
      fault(file, i + 1, "std::thread: use a coroutine");
    }
  }

  static bool allowed(const std::string& line) { return line.find("// tidy: ") != std::string::npos; }

  void fault(const SourceFile& file, size_t line, const std::string& text) {
    ++faults_;
    std::printf("%s:%zu: %s\n", file.path.c_str(), line, text.c_str());
  }
  void note(std::string text) { notes_.push_back(std::move(text)); }

  void report() {
    for (const std::string& text : notes_) std::printf("note: %s\n", text.c_str());
    const auto most = std::max_element(included_by_.begin(), included_by_.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    size_t lines = 0;
    for (const SourceFile& file : files_) lines += is_cpp(file.path) ? file.lines.size() : 0;
    std::printf(
        "farthest: longest function %s (%s:%zu, %zu lines); longest file %s (%zu lines); largest fan-in %s (%zu)\n",
        longest_function_.name.c_str(), longest_function_.path.c_str(), longest_function_.line, longest_function_.lines,
        longest_file_.c_str(), longest_file_lines_, most == included_by_.end() ? "-" : most->first.c_str(),
        most == included_by_.end() ? 0 : most->second);
    std::printf("tidy: %zu files, %zu lines of C++, %zu faults\n", files_.size(), lines, faults_);
  }

  fs::path root_;
  std::vector<SourceFile> files_;
  std::vector<std::string> notes_;
  std::map<std::string, size_t> included_by_;
  Function longest_function_;
  std::string longest_file_;
  size_t longest_file_lines_ = 0;
  size_t faults_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return Tidy(argc > 1 ? argv[1] : ".").run(); }
