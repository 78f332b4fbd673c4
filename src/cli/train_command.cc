// `foreshard train`: makes a model for the neural experts from recorded traces, and shows the cards of models.
#include <sys/resource.h>

#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include "app/model_file.h"
#include "app/model_training.h"
#include "app/trace_input.h"
#include "base/bytes.h"
#include "base/random.h"
#include "cli/invocation.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "policy/predict/neural/model_card.h"
#include "runtime/real_runtime.h"

namespace foreshard::cli {
namespace {

using policy::AccessSequence;
using policy::Evaluation;

struct TrainCommandOptions {
  std::vector<std::string> traces;
  std::string file, show, judge, kind = "lstm", module, workload, label;
  double seconds = 0;
  double cache_percent = 5;
  uint64_t accesses_max = app::kTrainingAccessesMax;
  uint32_t vocabulary = 1024, hidden = 128, near_pages = 0;
  app::TrainOptions training;
};

// All CPU of this process so far. What is bounded is what the machine spends, not how long it takes.
double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Everything that one run of the command puts together.
struct TrainRun {
  Invocation& invocation;
  const TrainCommandOptions& options;
  runtime::Runtime& runtime;
  std::vector<AccessSequence> sequences;
  policy::ModelCard card;
  uint32_t near_pages = 0;
  bool files = false;
};

policy::Access access_of(const policy::TraceRequest& request, bool files) {
  policy::Access access;
  access.time_ns = request.time_ns ? *request.time_ns + 1000 : 0;
  const uint64_t first = request.offset / kPageBytes, last = (request.offset + request.size - 1) / kPageBytes;
  access.position = files ? request.file : first;
  access.first_page = files ? std::min<uint64_t>(first, UINT32_MAX) : 0;
  access.pages = static_cast<uint32_t>(std::min<uint64_t>(last - first + 1, policy::kLengthPagesMax));
  return access;
}

Result<void> read_one(TrainRun& run, const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  TRY(app::TraceInput input, app::TraceInput::open(path));
  Progress progress("reading " + name, input.size_bytes(), run.invocation.quiet);
  std::unique_ptr<policy::SequenceBuilder> builder;
  uint64_t reads = 0, requests = 0;
  bool files = false;
  app::TraceSink sink;
  sink.begin = [&](policy::TraceFormat format) {
    files = format == policy::TraceFormat::kFileCsv;
    builder = std::make_unique<policy::SequenceBuilder>(files ? policy::SymbolKind::kFile : policy::SymbolKind::kDelta,
                                                        run.options.cache_percent / 100);
  };
  sink.enough = [&] { return requests >= run.options.accesses_max; };
  sink.request = [&](const policy::TraceRequest& request) {
    if (request.op == policy::TraceOp::kOther || sink.enough()) return;
    ++requests;
    // Processes come and go; what they read of files is one stream.
    builder->add(files ? 0 : request.volume, access_of(request, files), request.op == policy::TraceOp::kWrite);
  };
  sink.on_bytes = [&](uint64_t done) { progress.update(done, run.runtime.now_ns()); };
  TRY_VOID(app::read_trace(input, {}, sink));
  progress.finish(run.runtime.now_ns());
  if (!run.card.data.empty() && files != run.files) {
    return fail(ErrorCode::kInvalid, "train", path + ": block and file traces make different models; train them apart");
  }
  run.files = files;
  const size_t before = run.sequences.size();
  const policy::TokenStream::Labels labels = {policy::label_hash(run.options.workload),
                                              policy::label_hash(run.options.label)};
  builder->finish(labels, run.card.split, run.near_pages, run.sequences);
  for (size_t i = before; i < run.sequences.size(); ++i) reads += run.sequences[i].accesses.size();
  run.card.data.push_back({name, requests, reads});
  return {};
}

Result<policy::Model> train(TrainRun& run, const app::TrainModule& module) {
  const auto kind = run.options.kind == "lstm" ? policy::ModelKind::kLstm : policy::ModelKind::kTransformer;
  policy::ModelShape shape =
      app::default_model_shape(kind, run.files ? policy::SymbolKind::kFile : policy::SymbolKind::kDelta);
  shape.vocabulary = run.options.vocabulary;
  if (run.options.near_pages != 0) app::look_near(shape, run.options.near_pages);
  if (kind == policy::ModelKind::kLstm) shape.hidden = run.options.hidden;
  std::unique_ptr<Progress> progress;
  const double began = cpu_seconds();
  const auto on_progress = [&](const app::TrainProgress& told) {
    if (!progress) {
      progress = std::make_unique<Progress>("training", told.steps_total, run.invocation.quiet, ProgressOf::kCount);
    }
    run.card.epochs = std::max(run.card.epochs, told.epoch + 1);
    progress->set_title(fmt::format("epoch {}/{}  loss {:.3f}", told.epoch + 1, run.options.training.epochs,
                                    told.epoch_ended ? told.validation_loss : told.train_loss));
    progress->update(told.steps_done, run.runtime.now_ns());
    return run.options.seconds == 0 || cpu_seconds() - began < run.options.seconds;
  };
  TRY(policy::Model model, app::train_model(module, run.sequences, shape, run.options.training, on_progress));
  if (progress) progress->finish(run.runtime.now_ns());
  run.card.cpu_seconds = cpu_seconds() - began;
  return model;
}

Json accuracy_json(const Evaluation& evaluation, const policy::Accuracy& accuracy) {
  return {{"top_1", evaluation.share(accuracy.top1)}, {"top_k", evaluation.share(accuracy.top_k)}};
}

void print_outcome(TrainRun& run, const std::string& file, const policy::Model& model, const Evaluation& evaluation) {
  uint64_t reads = 0, said = 0;
  for (const auto& data : run.card.data) reads += data.reads_used;
  const policy::Accuracy sure = evaluation.confident(0.5, said);
  const double sure_right = said == 0 ? 0 : static_cast<double>(sure.top1) / static_cast<double>(said);
  const Json value = {{"file", file},
                      {"kind", policy::model_kind_name(model.shape.kind)},
                      {"traces", run.card.data.size()},
                      {"reads", reads},
                      {"split", {{"train", run.card.split.train}, {"validation", run.card.split.validation}}},
                      {"weights", model.weights.size()},
                      {"vocabulary", model.shape.vocabulary},
                      {"epochs", run.card.epochs},
                      {"cpu_seconds", run.card.cpu_seconds},
                      {"answers", evaluation.answers},
                      {"k", policy::kEvaluatedAnswers},
                      {"model", accuracy_json(evaluation, evaluation.model)},
                      {"commonest", accuracy_json(evaluation, evaluation.commonest)},
                      {"markov", accuracy_json(evaluation, evaluation.markov)},
                      {"history", accuracy_json(evaluation, evaluation.history)},
                      {"log_loss", evaluation.mean_log_loss()},
                      {"calibration_error", evaluation.calibration_error()},
                      {"brier", evaluation.mean_brier()},
                      {"confident_share", evaluation.share(said)},
                      {"confident_right", sure_right}};
  std::string text = fmt::format(
      "{}: {} of {} weights, {} symbols; {} reads; to learn from: the first {:.0f} %, to choose by: the next {:.0f} %, "
      "to judge by: the last {:.0f} %\n\n",
      file, policy::model_kind_name(model.shape.kind), model.weights.size(), model.shape.vocabulary, reads,
      run.card.split.train * 100, run.card.split.validation * 100,
      (1 - run.card.split.train - run.card.split.validation) * 100);
  Table table({{"NEXT READ, OF " + std::to_string(evaluation.answers), Table::Align::kLeft},
               {"TOP 1", Table::Align::kRight},
               {fmt::format("TOP {}", policy::kEvaluatedAnswers), Table::Align::kRight}});
  const auto add = [&](const char* name, const policy::Accuracy& accuracy) {
    table.add({name, fmt::format("{:.4f}", evaluation.share(accuracy.top1)),
               fmt::format("{:.4f}", evaluation.share(accuracy.top_k))});
  };
  add("model", evaluation.model);
  add("commonest", evaluation.commonest);
  add("Markov, of the last", evaluation.markov);
  add("history, of the place", evaluation.history);
  text += table.text();
  text += fmt::format(
      "\ncalibration error {:.4f}, Brier {:.4f}, log loss {:.4f}; at least .5 sure on {:.1f} % and then right on "
      "{:.1f} %\n{} epochs, {:.1f} s of CPU\n",
      evaluation.calibration_error(), evaluation.mean_brier(), evaluation.mean_log_loss(), evaluation.share(said) * 100,
      sure_right * 100, run.card.epochs, run.card.cpu_seconds);
  run.invocation.print(value, text);
}

Evaluation judge(TrainRun& run, const policy::Model& model) {
  const std::unique_ptr<policy::SequenceModel> runnable = policy::SequenceModel::create(model);
  Progress progress("judging", 0, run.invocation.quiet, ProgressOf::kCount);
  const auto on_progress = [&](uint64_t done, uint64_t) {
    progress.update(done, run.runtime.now_ns());
    return true;
  };
  Evaluation evaluation = policy::evaluate(*runnable, model, run.sequences, policy::EvaluatedPart::kTest, on_progress);
  policy::evaluate_baselines(model, run.sequences, policy::EvaluatedPart::kTest, evaluation);
  progress.finish(run.runtime.now_ns());
  return evaluation;
}

// How well a model that is there does on the last part of these traces.
Result<void> run_judge(Invocation& invocation, const TrainCommandOptions& options) {
  TRY(const std::unique_ptr<runtime::RealRuntime> runtime, runtime::RealRuntime::create());
  TRY(const policy::Model model, app::read_model_file(options.judge));
  TrainRun run{invocation, options, *runtime, {}, {}, model.shape.near_pages, false};
  for (const std::string& path : options.traces) {
    TRY_VOID(read_one(run, path));
  }
  if (run.files != (model.shape.symbols == policy::SymbolKind::kFile)) {
    return fail(ErrorCode::kInvalid, "train", std::string("block and file traces want different models"));
  }
  print_outcome(run, options.judge, model, judge(run, model));
  return {};
}

Result<void> run_train(Invocation& invocation, const TrainCommandOptions& options) {
  TRY(const std::unique_ptr<runtime::RealRuntime> runtime, runtime::RealRuntime::create());
  // Before the long work: whether it can succeed.
  TRY(const app::TrainModule module, app::TrainModule::load(options.module));
  TrainRun run{invocation, options, *runtime, {}, {}, options.near_pages, false};
  for (const std::string& path : options.traces) {
    TRY_VOID(read_one(run, path));
  }
  TRY(policy::Model model, train(run, module));

  const Evaluation evaluation = judge(run, model);
  run.card.created = time_text(runtime->wall_ns());
  run.card.program = std::string("foreshard ") + kVersion;
  run.card.libraries = module.libraries();
  run.card.instructions = policy::vector_instructions();
  run.card.cache_share = options.cache_percent / 100;
  run.card.seed = options.training.seed;
  model.card = policy::model_card_text(run.card, model, evaluation);
  TRY_VOID(app::write_model_file(options.file, model));
  print_outcome(run, options.file, model, evaluation);
  return {};
}

Result<void> show(Invocation& invocation, const std::string& path) {
  TRY(const policy::Model model, app::read_model_file(path));
  // A foreign card need not be JSON; then it is shown as the text that it is.
  Json value = Json::parse(model.card, nullptr, false);
  if (value.is_discarded()) value = {{"card", model.card}};
  invocation.print(value, model.card);
  return {};
}

void add_training_options(CLI::App& command, TrainCommandOptions& options) {
  command.add_option("--kind", options.kind, "The network")
      ->check(one_of({"lstm", "transformer"}))
      ->type_name("lstm|transformer")
      ->capture_default_str();
  command.add_option("--epochs", options.training.epochs, "How often it sees the data")
      ->check(CLI::Range(1, 1000))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--seconds", options.seconds, "Seconds of CPU that training may take (default: no bound)")
      ->check(CLI::Range(0.0, 1e9))
      ->type_name("N");
  command
      .add_option("--cache", options.cache_percent,
                  "Train on what a cache of this share of the pages misses; 0: on every read")
      ->check(CLI::Range(0.0, 100.0))
      ->type_name("PERCENT")
      ->capture_default_str();
  command.add_option("--vocabulary", options.vocabulary, "How many distances, or files, it can name")
      ->check(CLI::Range(1u, policy::Vocabulary::kSymbolsMax))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--hidden", options.hidden, "Width of an LSTM's state")
      ->check(CLI::Range(1u, policy::kModelHiddenMax))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--near", options.near_pages, "Tell streams apart that are further from each other than this")
      ->check(CLI::Range(0u, policy::kModelNearPagesMax))
      ->type_name("PAGES");
  command.add_option("--rate", options.training.learning_rate, "Learning rate")
      ->check(CLI::Range(1e-6, 1.0))
      ->type_name("R")
      ->capture_default_str();
  command.add_option("--seed", options.training.seed, "Same seed and epochs, same model")
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--threads", options.training.threads, "Threads that train")
      ->check(CLI::Range(1, 256))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--workload", options.workload, "Type of the workload, such as database")->type_name("TYPE");
  command.add_option("--label", options.label, "Label of the VM")->type_name("TEXT");
  command.add_option("--module", options.module, "The training module (default: beside this program)")
      ->envname("FORESHARD_TRAIN_MODULE")
      ->type_name("FILE");
}

}  // namespace

void add_train_command(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<TrainCommandOptions>();
  CLI::App* command = app.add_subcommand("train", "Make a model that predicts reads, from recorded traces");
  command->add_option("TRACE", options->traces, "Block or file traces, plain or compressed by zstd")->type_name("");
  // -o is the file here; --output still is the format of what is printed.
  command->add_option("-o,--file", options->file, "The model to write")->type_name("MODEL");
  command->add_option("--show", options->show, "Print the card of a model instead")->type_name("MODEL");
  command->add_option("--judge", options->judge, "Judge a model on the traces' last parts instead of making one")
      ->type_name("MODEL");
  add_training_options(*command, *options);
  command->footer(
      "Traces are of any format that `foreshard replay` reads. Each is cut by time: the first 60 % to learn from,\n"
      "10 % to choose the best epoch by, the last 30 % to judge by. The figures at the end are of that last part.\n\n"
      "Examples:\n"
      "  foreshard train disk1.csv disk2.csv.zst -o disks.model --seconds 300\n"
      "  foreshard train --kind transformer build.csv -o build.model\n"
      "  foreshard train --judge disks.model disk3.csv\n"
      "  foreshard train --show disks.model\n");
  command->callback([&invocation, options] {
    if (options->show.empty() && options->traces.empty()) throw CLI::RequiredError("TRACE");
    const bool makes = options->show.empty() && options->judge.empty();
    if (makes && options->file.empty()) throw CLI::RequiredError("-o MODEL");
    invocation.run = [&invocation, options]() -> Result<void> {
      if (!options->show.empty()) return show(invocation, options->show);
      if (!options->judge.empty()) return run_judge(invocation, *options);
      return run_train(invocation, *options);
    };
  });
}

}  // namespace foreshard::cli
