# Every verb sets up what it needs. `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := results/demo

PAGES := build/docs

.PHONY: setup check fix test demo docs results bench torture device lock clean

setup: $(VENV)/.ready ## make .venv with the nnlab command in it, versions as locked

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nnlab needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

check: setup ## lint, format and types, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: setup ## mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## all tests, on all cores
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

demo: setup ## train sigmoid 20 deep on real data, draw its figures, judge its expectations
	$(BIN)/nnlab train experiments/vanishing_gradients.yaml --out $(DEMO) --force
	$(BIN)/nnlab check $(DEMO)

docs: setup ## build the pages of docs/ into build/docs, where a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -n docs $(PAGES)
	@echo "$(PAGES)/index.html"

CURES := vanishing_gradients vanishing_gradients_skip vanishing_gradients_batch_norm relu_he
GROKKED := grokking_mod31 grokking_mod31_no_decay grokking_progress grokking_transformer
CATALOGUE := practical_defaults naive_defaults overfitting early_stopping learning_rate_range \
  update_ratios update_ratios_relu
CHOICES := optimizers ravine l1_l2 cross_validation voting lecun1989_steps
IMAGES := lenet5_fashion_mnist cnn_translation mlp_translation autoencoder_convolutional augmentation
INSIDE := loss_landscape_skip loss_landscape_plain rnn_gradient_vanishing rnn_gradient_exploding \
  rnn_gradient_orthogonal
EXPLAINED := neural_collapse neural_collapse_no_decay ordered_phase chaotic_phase edge_of_stability edge_of_stability_adam \
  spectral_bias spectral_bias_fourier
LECTURES := critical_batch critical_batch_small universal_approximation universal_approximation_linear \
  deep_sawtooth deep_sawtooth_two_folds whitening zero_one_bias_variance zero_one_bias_variance_clean
DESCENTS := double_descent_triple double_descent_triple_best_ridge bias_variance_trained bias_variance_trained_narrow \
  memorisation
SWEEPS := double_descent_mnist1d double_descent_mnist1d_clean double_descent_polynomial \
  double_descent_random_features double_descent_samples double_descent_epochs bias_variance \
  grokking_weight_decay grokking_training_fraction phase_diagram lazy_width lazy_width_mean_field lazy_scale \
  superposition superposition_linear

results: setup ## train what the headline figures show, judge it, and draw them into docs/; half an hour
	for name in $(CURES) $(GROKKED) $(CATALOGUE) $(IMAGES) $(INSIDE) $(EXPLAINED); do $(BIN)/nnlab train experiments/$$name.yaml --out results/$$name --no-plots || exit 1; done
	for name in $(SWEEPS) $(DESCENTS) $(CHOICES) $(LECTURES); do $(BIN)/nnlab sweep experiments/$$name.yaml --out results/$$name --no-plots || exit 1; done
	$(BIN)/nnlab plot $(addprefix results/,$(CURES)) --figure depth_profile --out docs
	$(BIN)/nnlab plot results/ordered_phase results/chaotic_phase --figure signal_propagation --out docs/signal
	$(BIN)/nnlab plot results/spectral_bias results/spectral_bias_fourier --figure spectral_bias --out docs/spectral
	$(BIN)/nnlab plot results/superposition results/superposition_linear --figure superposition_by_density --out docs/superposition
	$(BIN)/nnlab plot results/superposition --figure overlaps_by_density --out docs/superposition
	$(BIN)/nnlab plot results/phase_diagram --figure phase_diagram --out docs/signal
	$(BIN)/nnlab plot results/double_descent_mnist1d results/double_descent_mnist1d_clean --out docs/mnist1d
	for name in polynomial random_features samples epochs; do \
	  $(BIN)/nnlab plot results/double_descent_$$name --out docs/$$name || exit 1; done
	$(BIN)/nnlab plot results/double_descent_triple results/double_descent_triple_best_ridge --figure double_descent --out docs/triple
	$(BIN)/nnlab plot $(addprefix results/double_descent_,mnist1d samples epochs) --figure double_descent --out docs/descent
	$(BIN)/nnlab plot results/bias_variance --out docs/bias_variance
	$(BIN)/nnlab plot results/bias_variance_trained results/bias_variance_trained_narrow --out docs/bias_variance
	$(BIN)/nnlab plot results/memorisation --out docs/memorisation
	$(BIN)/nnlab plot results/grokking_mod31 results/grokking_mod31_no_decay --figure grokking --out docs/grokking
	$(BIN)/nnlab plot results/grokking_progress --figure answers --figure progress_measures --out docs/grokking
	$(BIN)/nnlab plot results/grokking_transformer --figure embedding_spectrum --out docs/grokking
	$(BIN)/nnlab plot results/grokking_weight_decay --out docs/grokking
	$(BIN)/nnlab plot results/grokking_training_fraction --out docs/grokking/fraction
	$(BIN)/nnlab plot results/practical_defaults results/naive_defaults --figure training_curves --out docs/defaults
	$(BIN)/nnlab plot results/early_stopping results/overfitting --figure overfitting --out docs/catalogue
	$(BIN)/nnlab plot results/learning_rate_range --figure learning_rate_range --out docs/catalogue
	$(BIN)/nnlab plot results/ravine --figure trajectories --out docs/catalogue
	$(BIN)/nnlab plot results/optimizers --figure comparison --out docs/optimizers
	$(BIN)/nnlab plot results/update_ratios results/update_ratios_relu --figure update_ratios --out docs/training
	$(BIN)/nnlab plot results/critical_batch --figure critical_batch --out docs/training
	$(BIN)/nnlab plot results/universal_approximation results/universal_approximation_linear --figure approximation --out docs/training
	$(BIN)/nnlab plot results/deep_sawtooth results/deep_sawtooth_two_folds --figure comparison --out docs/training/sawtooth
	$(BIN)/nnlab plot results/zero_one_bias_variance results/zero_one_bias_variance_clean --figure zero_one_bias_variance --out docs/training
	$(BIN)/nnlab plot results/whitening --figure comparison --out docs/training/whitening
	$(BIN)/nnlab plot results/l1_l2 --figure comparison --out docs/l1_l2
	$(BIN)/nnlab plot results/cross_validation --figure cross_validation --out docs/catalogue
	$(BIN)/nnlab plot results/voting --figure voting --out docs/catalogue
	$(BIN)/nnlab plot results/lecun1989_steps --figure comparison --out docs/lecun1989
	$(BIN)/nnlab plot results/lenet5_fashion_mnist --figure misclassified --figure filters --out docs/images
	$(BIN)/nnlab plot results/autoencoder_convolutional --figure reconstructions --out docs/images
	$(BIN)/nnlab plot results/cnn_translation results/mlp_translation --figure translation --out docs/images
	$(BIN)/nnlab plot $(addprefix results/,$(filter loss%,$(INSIDE))) --figure loss_landscape --out docs/inside
	$(BIN)/nnlab plot results/loss_landscape_skip --figure training_path --out docs/inside
	$(BIN)/nnlab plot $(addprefix results/,$(filter rnn%,$(INSIDE))) --out docs/inside --figure gradient_through_time
	$(BIN)/nnlab plot results/neural_collapse results/neural_collapse_no_decay --figure neural_collapse --out docs/collapse
	$(BIN)/nnlab plot $(addprefix results/,$(filter edge%,$(EXPLAINED))) --out docs/sharpness --figure edge_of_stability
	$(BIN)/nnlab plot results/lazy_width results/lazy_width_mean_field --figure laziness --out docs/laziness
	$(BIN)/nnlab plot results/lazy_scale --figure laziness --out docs/laziness/scale

bench: setup ## speed and memory against goals, into docs/performance_table.md; installs PyTorch and Keras into .venv; 25 minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 keras==3.15.1 || echo "PyTorch and Keras: not installed, the others go on without them"
	$(BIN)/python benchmarks/run_all.py

torture: setup ## kill, starve, damage and misspell at length, and print the table of what held; an hour
	$(BIN)/python -m pip install --quiet --disable-pip-version-check libfaketime
	$(BIN)/python tests/torture

device: setup ## on a GPU: every experiment, the CPU's numbers, lanes, resumption, bfloat16, and speed beside PyTorch; ten minutes
	$(BIN)/python tests/device

lock: setup ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra docs --universal --python-version 3.11 --no-header --no-annotate --upgrade -o requirements.lock

clean: ## remove .venv and results
	rm -rf $(VENV) results/*/
