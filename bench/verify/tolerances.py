"""How far results may be from golden ones: float32 as the golden set's README suggests, bf16 as the format allows."""

TOLERANCES = {  # case -> kind of output -> largest error, absolute unless the kind says relative
    "scbert_pretrain": {"logits": 2e-5},
    "scbert_pretrain_nog2v": {"logits": 2e-5},
    "scbert_embed": {"encodings": 5e-5},
    "scbert_classify": {"logits": 5e-6},
    "scbert_finetune": {"loss": 2e-5, "logits": 2e-5},  # final.* and gradients: see `bench.verify.scbert.finetune`
    "scbert_mask": {"integers": 0, "logits": 2e-5, "losses": 2e-5},
    "scbert_schedule": {"relative": 1e-12},
    "scbert_preprocess": {"values": 5e-6, "integers": 0},
    "scbert_redraw": {"counters": 0, "projection": 1e-5},
    "scgpt_forward": {"outputs": 2e-5},  # where nothing is padded
    "scgpt_forward_keys_flash": {"outputs": 2e-5},
    "scgpt_forward_keys_impl": {"outputs": 2e-5},
    "scgpt_mvc": {"outputs": 5e-5},
    "scgpt_finetune": {"outputs": 2e-5},
    "scgpt_binning": {"bins": 0},
    "scgpt_tokenize": {"integers": 0},
    "scgpt_losses": {"relative": 1e-6},
    "lr_liblinear": {
        "predictions": 0,  # where decision values do not tie
        "objective relative": 1e-6,  # up to C = 100
        "objective relative, C = 1000": 1e-5,
        "objective relative, C = 10000": 1e-3,
        "coefficients": 1e-4,  # up to C = 10
    },
}
ROUNDING = 1e-6  # relative, of numbers that a rounded sum decides: totals of cells, their edges, losses of about 1,000
BF16 = 3e-2  # of logits and encodings: eight bits of mantissa over a few layers
