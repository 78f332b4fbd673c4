/* The training module: a shared library over libtorch, loaded only by who wants to train (app/train_module.h). Plain C,
 * so that neither side sees the other's C++; libtorch's headers want another standard than ours.
 *
 * Weights are one array of floats, row by row, in this order:
 *   table           [rows][width]
 *   LSTM:           of the input [4 * hidden][width], of the state [4 * hidden][hidden], bias [4 * hidden];
 *                   gates in the order input, forget, candidate, output
 *   Transformer:    for each layer: norm gain [width], norm bias [width], query, key, value [3 * width][width], their
 *                   bias [3 * width], out [width][width], its bias [width], distance [attention_heads][context],
 *                   inner norm gain and bias [width], inner [hidden][width], its bias, outer [width][hidden], its bias;
 *                   then the last norm's gain and bias [width]
 *   for each head:  [values][hidden or width], bias [values]
 */
#ifndef FORESHARD_TRAIN_MODULE_H
#define FORESHARD_TRAIN_MODULE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FORESHARD_TRAIN_MODULE_VERSION 1u
#define FORESHARD_TRAIN_HEADS 3
#define FORESHARD_TRAIN_MODULE_SYMBOL "foreshard_train_module"

typedef struct {
  uint32_t kind; /* 1: LSTM, 2: Transformer */
  uint32_t rows;
  uint32_t width;
  uint32_t hidden;
  uint32_t layers;
  uint32_t attention_heads;
  uint32_t context;
  uint32_t features; /* rows of the table that make a token */
  uint32_t head_values[FORESHARD_TRAIN_HEADS];
} foreshard_train_shape;

typedef struct {
  uint64_t steps;
  const uint32_t* tokens; /* [steps][features] */
  const int32_t* answers; /* [steps][FORESHARD_TRAIN_HEADS], what came next; -1: nothing to learn from */
} foreshard_train_data;

typedef struct {
  uint64_t seed;
  uint32_t epochs;
  uint32_t lanes; /* pieces of the data that run side by side */
  uint32_t chunk; /* steps through which gradients flow */
  uint32_t threads;
  uint32_t reserved;
  float learning_rate;
  float dropout;
} foreshard_train_options;

typedef struct {
  uint32_t epoch;
  uint32_t epoch_ended; /* validation_loss is of this epoch */
  uint64_t steps_done, steps_total;
  double train_loss;
  double validation_loss; /* of the symbol head, in nats */
} foreshard_train_progress;

/* Not 0: stop here and keep what is best so far. */
typedef int (*foreshard_train_on_progress)(void* user, const foreshard_train_progress* progress);

typedef struct {
  uint32_t version; /* FORESHARD_TRAIN_MODULE_VERSION */
  const char* libraries; /* such as "libtorch 1.13.1" */
  /* Trains from `weights` on, which then hold those of the epoch with the least validation loss; that is told too.
   * 0, or not 0 with a text in `error`. */
  int (*train)(const foreshard_train_shape* shape, const foreshard_train_options* options,
               const foreshard_train_data* train, const foreshard_train_data* validation, float* weights,
               uint64_t weights_count, double* validation_loss, foreshard_train_on_progress on_progress, void* user,
               char* error, uint64_t error_bytes);
  /* Scores of all heads side by side for each step of one stream: out[steps][sum of head_values]. one_by_one: a call of
   * the library for each step with a carried state, as an inference would do it. */
  int (*forward)(const foreshard_train_shape* shape, const float* weights, uint64_t weights_count,
                 const uint32_t* tokens, uint64_t steps, uint32_t one_by_one, float* out, char* error,
                 uint64_t error_bytes);
} foreshard_train_module_api;

const foreshard_train_module_api* foreshard_train_module(void);

#ifdef __cplusplus
}
#endif

#endif
